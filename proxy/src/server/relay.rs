//! One forwarded exchange: the client's body to the origin, the origin's answer to the client, both at once.
//!
//! One task moves both directions and waits for both at once; nothing is spawned for a request. The request's fields are
//! [`super::forward`]'s, the answer's [`answer`]'s, bodies [`flow`]'s.

mod answer;
mod flow;
mod presence;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use egressway_core::acl::VettedAddr;
use tokio::time::Instant;

use self::answer::{Answer, Finish, Rules};
use self::flow::Broken;
pub(super) use self::flow::{Encoding, Flow};
use self::presence::Presence;
use super::connection::Connection;
use super::head::Head;
use super::origin::Origin;
use super::reason::{Fault, Reason};
use super::request::{Ending, Request};
use super::{STUCK, Server};
use crate::auth::Certified;
use crate::limits::memory::{Level, Use};
use crate::tunnel::End;

/// What buffers hold is counted in steps, so that nearly every turn of an exchange changes nothing.
const STEP_BYTES: usize = 8 * 1024;

/// What an exchange needs besides its streams.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    pub(super) server: &'a Server,
    pub(super) head: &'a Head,
    /// The request asks for another protocol.
    pub(super) upgrade: bool,
    /// The origin's connection has served before.
    pub(super) reused: bool,
    /// Longest time in which nothing moves.
    pub(super) idle: Duration,
    /// Most bytes of the answer's body.
    pub(super) response_bytes_max: Option<u64>,
}

/// How an exchange ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Nothing of an answer was written to the client.
    Refused(Reason),
    /// A connection that had served before was closed without a word, and the request can be sent once more.
    Stale,
    /// An answer was written, to its end or not.
    Done {
        ending: Ending,
        /// The client's connection takes another request.
        keep_alive: bool,
        /// The origin's connection takes another request, for as long as this.
        keeps_origin: Option<Option<Duration>>,
    },
    /// The protocol changed; a tunnel follows, and these bytes come first.
    Upgraded { early: BytesMut },
}

/// Whether documents let a request go on that is under way.
#[derive(Debug)]
pub(super) struct Gate<'a> {
    pub(super) server: &'a Server,
    pub(super) request: &'a mut Request,
    /// Where it goes.
    pub(super) address: VettedAddr,
}

impl Gate<'_> {
    /// Whether nothing changed since it was asked last.
    fn stands(&self) -> bool {
        self.server.state.is_current(&self.request.documents)
    }

    /// Asks the documents in force.
    #[cold]
    fn opens(&mut self, certified: Option<&mut Certified>, upload: Upload) -> bool {
        let documents = self.server.state.in_force();
        match upload {
            Upload::Running => self.request.goes_on_proved(&documents, certified, self.address),
            // Nothing more of the client's goes out.
            Upload::Done | Upload::Abandoned => self.request.goes_on(&documents, self.address),
        }
    }
}

/// How far the request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upload {
    Running,
    Done,
    /// The origin reads no more; it may answer all the same.
    Abandoned,
}

/// What ends an exchange.
enum Event {
    Answer(Finish),
    Refused(Fault),
    ClientGone,
    Cut(End),
    Idle,
}

impl Exchange<'_> {
    /// Sends a request that begins with what waits in `upload`, and passes the answer on, while the gate is open. `cut` ends
    /// it early, and wakes it when documents change.
    pub(super) async fn run(
        &self,
        client: &mut Connection,
        origin: &mut Origin,
        upload: &mut Flow,
        gate: &mut Gate<'_>,
        mut cut: Pin<&mut impl Future<Output = End>>,
    ) -> Outcome {
        let mut answer = Answer::new();
        let mut state = Upload::Running;
        let mut presence = Presence::default();
        let memory = &self.server.memory;
        let mut held = memory.take_anyway(Use::Requests, 0);
        let mut moved = (upload.progress, 0);
        let mut moved_at = Instant::now();
        let mut look_at = moved_at + STUCK;
        let event = poll_fn(|cx| {
            loop {
                if !gate.stands() && !gate.opens(client.certified.as_deref_mut(), state) {
                    return Poll::Ready(Event::Cut(End::PolicyRevoked));
                }
                let may_send = || gate.stands();
                let moved = self.poll(cx, client, origin, upload, &mut state, &mut answer, &may_send);
                if moved.is_ready() {
                    return moved;
                }
                if gate.stands() {
                    break;
                }
            }
            // Somebody is waited for, and meanwhile this much is kept.
            let buffers = [client.buffer.capacity(), answer.input.capacity()];
            let kept = buffers.into_iter().sum::<usize>() + upload.capacity() + answer.flow.capacity();
            held.set(kept.next_multiple_of(STEP_BYTES));
            let most = memory.piece(usize::MAX);
            upload.read_at_most(most);
            answer.flow.read_at_most(most);
            // A client that is still read from is heard of by that.
            if state != Upload::Running
                && presence
                    .poll_gone(cx, &mut client.stream, &mut client.buffer)
                    .is_ready()
            {
                return Poll::Ready(Event::ClientGone);
            }
            if let Poll::Ready(end) = cut.as_mut().poll(cx) {
                return Poll::Ready(Event::Cut(end));
            }
            let now = (upload.progress, answer.flow.progress);
            if now != moved {
                moved = now;
                moved_at = Instant::now();
            }
            let idle_at = moved_at + self.idle;
            if !upload.is_blocked() && !answer.flow.is_blocked() {
                return client.timer.poll(cx, idle_at).map(|()| Event::Idle);
            }
            // What waits for a reader is looked at now and then: its memory may be needed.
            loop {
                ready!(client.timer.poll(cx, idle_at.min(look_at)));
                let now = Instant::now();
                if now >= idle_at {
                    return Poll::Ready(Event::Idle);
                }
                if now >= moved_at + STUCK && memory.level() > Level::Calm {
                    self.server.metrics.shed.inc();
                    return Poll::Ready(Event::Cut(End::CrowdedOut));
                }
                look_at = now + STUCK;
            }
        })
        .await;
        self.outcome(event, upload, state, answer)
    }

    #[expect(clippy::too_many_arguments, reason = "both directions at once")]
    fn poll(
        &self,
        cx: &mut Context<'_>,
        client: &mut Connection,
        origin: &mut Origin,
        upload: &mut Flow,
        state: &mut Upload,
        answer: &mut Answer,
        may_send: &impl Fn() -> bool,
    ) -> Poll<Event> {
        if *state == Upload::Running {
            let (stream, buffer) = (&mut client.stream, &mut client.buffer);
            let fields = Some(&self.head.fields);
            match upload.poll(cx, buffer, stream, &mut origin.stream(), fields, may_send) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => *state = Upload::Done,
                Poll::Ready(Err(Broken::Receiver)) => *state = Upload::Abandoned,
                // It has its answer, and says that the rest does not come.
                Poll::Ready(Err(Broken::Sender)) if answer.is_final() => *state = Upload::Abandoned,
                Poll::Ready(Err(Broken::Malformed(fault))) if answer.is_untouched() => {
                    return Poll::Ready(Event::Refused(fault));
                }
                Poll::Ready(Err(Broken::Sender | Broken::Malformed(_) | Broken::TooLarge)) => {
                    return Poll::Ready(Event::ClientGone);
                }
            }
        }
        let rules = Rules {
            request: self.head,
            name: &self.server.name,
            upgrade: self.upgrade,
            bytes_max: self.response_bytes_max,
            leaving: self.server.state.is_leaving(),
        };
        let sent = *state == Upload::Done;
        answer
            .poll(cx, rules, origin, &mut client.stream, sent)
            .map(Event::Answer)
    }

    fn outcome(&self, event: Event, upload: &Flow, state: Upload, answer: Answer) -> Outcome {
        let end = match event {
            Event::Answer(Finish::Switched) => return Outcome::Upgraded { early: answer.input },
            Event::Answer(Finish::Refused(Fault::UpstreamClosed)) if self.is_stale(upload, &answer) => {
                return Outcome::Stale;
            }
            Event::Answer(Finish::Refused(fault)) | Event::Refused(fault) => {
                return Outcome::Refused(fault.into());
            }
            Event::Answer(Finish::Complete) => End::Completed,
            Event::Answer(Finish::Broken(end)) | Event::Cut(end) => end,
            Event::ClientGone => End::ClientReset,
            // Whoever was waited for last is to blame.
            Event::Idle if answer.flow.is_blocked() => End::ClientReset,
            Event::Idle if answer.is_final() => End::IdleTimeout,
            Event::Idle
                if state == Upload::Running && !upload.is_blocked() && !self.awaits_permission(&answer) =>
            {
                return Outcome::Refused(Fault::BodyTimeout.into());
            }
            Event::Idle => return Outcome::Refused(Fault::UpstreamTimeout.into()),
        };
        let metrics = &self.server.metrics;
        metrics.bytes_sent.inc_by(upload.bytes);
        metrics.bytes_received.inc_by(answer.flow.bytes);
        Outcome::Done {
            ending: Ending {
                end,
                status: answer.status(),
                sent: upload.bytes,
                received: answer.flow.bytes,
            },
            keep_alive: state == Upload::Done && !answer.closes,
            keeps_origin: answer
                .keeps_origin()
                .filter(|_| end == End::Completed && !self.is_personal()),
        }
    }

    /// The client sends nothing because the origin has not said that it may.
    fn awaits_permission(&self, answer: &Answer) -> bool {
        self.head.expects_continue && !answer.begun
    }

    /// NTLM and Negotiate authenticate a connection, not a request: whoever used it next would speak in that name.
    fn is_personal(&self) -> bool {
        self.head.fields.all("authorization").any(|value| {
            let scheme = value.split(|byte| *byte == b' ').next().unwrap_or_default();
            scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate")
        })
    }

    /// RFC 9110, 9.2.2, and RFC 9112, 9.3.1: closed before a word was said, over a connection that had been waiting, and
    /// either nothing of the request was taken or it may be sent twice and is all still here.
    fn is_stale(&self, upload: &Flow, answer: &Answer) -> bool {
        let harmless = upload.wrote == 0 || self.head.method.is_idempotent();
        self.reused && !answer.begun && harmless && upload.is_repeatable()
    }
}
