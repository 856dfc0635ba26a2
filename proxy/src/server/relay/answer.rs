//! The origin's answer: interim heads, the final one, and its body, each as the client may have it.
//!
//! An answer that breaks off is never presented as complete: chunked without its last chunk, a length not reached, or a
//! reset. What the head loses and gains is decided here; its fields by [`super::super::hop`].

use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::stream::Stream;
use bytes::BytesMut;
use http::StatusCode;

use super::flow::{Broken, Encoding, Flow};
use crate::server::head::{Framing, Head, ResponseHead, Scan, Section, Version, tokens};
use crate::server::hop::{self, EndToEnd};
use crate::server::origin::Origin;
use crate::server::reason::Fault;
use crate::tunnel::End;

/// Most bytes of a response head; larger ones are refused as malformed.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most interim responses before the final one.
const INTERIM_MAX: usize = 16;
/// Bytes of a head that is printed without growing.
const HEAD_BYTES_USUAL: usize = 1024;

/// What an answer is made by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'a> {
    pub(super) request: &'a Head,
    /// Pseudonym in `Via`.
    pub(super) name: &'a str,
    /// The request asked for another protocol.
    pub(super) upgrade: bool,
    /// Most bytes of its body.
    pub(super) bytes_max: Option<u64>,
    /// The pod leaves: the client is told to bring its next request elsewhere.
    pub(super) leaving: bool,
}

/// How an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// All of it was written.
    Complete,
    /// The protocol has changed, and the client knows.
    Switched,
    /// No head came, or one that nobody may see: the client can still be told so.
    Refused(Fault),
    /// It has to be broken off.
    Broken(End),
}

/// One answer on its way.
#[derive(Debug)]
pub(super) struct Answer {
    stage: Stage,
    scan: Scan,
    /// Read from the origin.
    pub(super) input: BytesMut,
    /// Written to the client.
    pub(super) flow: Flow,
    /// Where the final answer begins, in bytes that the client took.
    final_at: u64,
    interim: usize,
    /// Something came from the origin.
    pub(super) begun: bool,
    head: Option<ResponseHead>,
    /// The client's connection ends behind this answer.
    pub(super) closes: bool,
    /// It came before the request had been sent to its end.
    early: bool,
    /// It ends before its connection does.
    delimited: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Head,
    Body,
    Switch,
}

impl Answer {
    pub(super) fn new() -> Self {
        Self {
            stage: Stage::Head,
            scan: Scan::default(),
            input: BytesMut::new(),
            flow: Flow::new(BytesMut::new(), Framing::None, Encoding::Raw),
            final_at: 0,
            interim: 0,
            begun: false,
            head: None,
            closes: false,
            early: false,
            delimited: false,
        }
    }

    /// The status that the client was shown, or began to be.
    pub(super) fn status(&self) -> Option<u16> {
        self.head.as_ref().map(|head| head.status.as_u16())
    }

    /// Whether nothing of a final answer has reached the client.
    pub(super) fn is_untouched(&self) -> bool {
        self.flow.wrote == self.final_at
    }

    /// Whether a final head has come.
    pub(super) fn is_final(&self) -> bool {
        self.stage != Stage::Head
    }

    /// How long the origin's connection can be kept for another request: `None` is not at all, an inner `None` as
    /// long as one likes.
    pub(super) fn keeps_origin(&self) -> Option<Option<Duration>> {
        let head = self.head.as_ref()?;
        // An origin that announces a body where none can be may send it as well, before the next answer.
        let odd = head.status == StatusCode::NO_CONTENT
            && !matches!(head.framing, Framing::Close | Framing::Length(0));
        let keeps = head.persistent && self.delimited && !self.early && !odd && self.input.is_empty();
        keeps.then(|| patience(head))
    }

    /// Moves what can be moved.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        rules: Rules<'_>,
        origin: &mut Origin,
        client: &mut Stream,
        sent: bool,
    ) -> Poll<Finish> {
        while self.stage == Stage::Head {
            match self.next_head(rules, sent) {
                Ok(true) => {}
                Ok(false) => match ready!(self.flow.poll_read(cx, &mut self.input, &mut origin.stream())) {
                    Some(1..) => self.begun = true,
                    Some(0) | None => return Poll::Ready(Finish::Refused(Fault::UpstreamClosed)),
                },
                Err(fault) => return Poll::Ready(Finish::Refused(fault)),
            }
            if self.stage == Stage::Head {
                // An interim answer is somebody's sign to go on: it does not wait for the next.
                if ready!(self.flow.poll_write(cx, client)).is_err() {
                    return Poll::Ready(Finish::Broken(End::ClientReset));
                }
                self.final_at = self.flow.wrote;
            }
        }
        if self.stage == Stage::Switch {
            return Poll::Ready(match ready!(self.flow.poll_write(cx, client)) {
                Ok(()) => Finish::Switched,
                Err(_) => Finish::Broken(End::ClientReset),
            });
        }
        let fields = self.head.as_ref().map(|head| &head.fields);
        let origin = &mut origin.stream();
        // Whatever came of the request has come: it is the client's.
        let moved = ready!(
            self.flow
                .poll(cx, &mut self.input, origin, client, fields, &|| true)
        );
        Poll::Ready(match moved {
            Ok(()) => Finish::Complete,
            Err(Broken::Receiver) => Finish::Broken(End::ClientReset),
            Err(broken) => match (broken, self.flow.wrote == self.final_at) {
                (Broken::Malformed(fault), true) => Finish::Refused(fault.of_answer()),
                (Broken::Malformed(fault), false) => Finish::Broken(End::malformed(fault)),
                (Broken::TooLarge, true) => Finish::Refused(Fault::ResponseTooLarge),
                (Broken::TooLarge, false) => Finish::Broken(End::ResponseTooLarge),
                (Broken::Sender | Broken::Receiver, _) => Finish::Broken(End::OriginReset),
            },
        })
    }

    /// Takes one head from what was read, if one is complete.
    fn next_head(&mut self, rules: Rules<'_>, sent: bool) -> Result<bool, Fault> {
        let end = self
            .scan
            .advance(&self.input, Section::Response, HEAD_BYTES_MAX)
            .map_err(|fault| match fault {
                // The bound on bytes is ours, the other one the reader's.
                Fault::HeadTooLarge if self.input.len() < HEAD_BYTES_MAX => {
                    Fault::UpstreamMalformed("the head has more than 100 fields")
                }
                Fault::HeadTooLarge => Fault::UpstreamMalformed("the head is longer than 64 KiB"),
                other => other.of_answer(),
            })?;
        let Some(end) = end else { return Ok(false) };
        self.scan = Scan::default();
        let head = ResponseHead::parse(&self.input.split_to(end).freeze())?;
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            self.switch(head, rules)?;
        } else if head.status.is_informational() {
            self.interim += 1;
            if self.interim > INTERIM_MAX {
                return Err(Fault::UpstreamMalformed("there are more than 16 interim answers"));
            }
            // HTTP/1.0 has none (RFC 9110, 15.2).
            if rules.request.version == Version::Http11 {
                print_start(self.flow.out(), &head);
                print_fields(self.flow.out(), &head, rules.name);
                self.flow.out().extend_from_slice(b"\r\n");
            }
        } else {
            self.begin(head, rules, sent)?;
        }
        Ok(true)
    }

    /// The final head.
    fn begin(&mut self, head: ResponseHead, rules: Rules<'_>, sent: bool) -> Result<(), Fault> {
        if head.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            // Only a proxy may say so (RFC 9110, 15.5.8); passed on, it would fetch the client's proxy credentials.
            return Err(Fault::UpstreamMalformed("only a proxy may answer 407"));
        }
        let body = head.body(&rules.request.method);
        if let (Framing::Length(length), Some(max)) = (body, rules.bytes_max)
            && length > max
        {
            return Err(Fault::ResponseTooLarge);
        }
        let chunks = matches!(body, Framing::Chunked | Framing::Close);
        let encoding = if chunks && rules.request.version == Version::Http11 {
            Encoding::Chunked
        } else {
            Encoding::Raw
        };
        self.early = !sent;
        self.delimited = body != Framing::Close;
        // Answered before the request's body has ended: nobody will read the rest of it.
        self.closes =
            rules.request.closes || rules.leaving || self.early || (chunks && encoding == Encoding::Raw);
        let out = self.flow.begin(body, encoding, rules.bytes_max);
        print_start(out, &head);
        if !print_fields(out, &head, rules.name) {
            hop::print_date(out);
        }
        match (body, encoding) {
            // About a body that is not sent (RFC 9110, 8.6): never with 204.
            (Framing::None, _) => {
                if let Framing::Length(length) = head.framing
                    && head.status != StatusCode::NO_CONTENT
                {
                    print_length(out, length);
                }
            }
            (Framing::Length(length), _) => print_length(out, length),
            (Framing::Chunked | Framing::Close, Encoding::Chunked) => {
                if body == Framing::Chunked {
                    for value in EndToEnd::of(&head.fields).announced_trailers() {
                        hop::print(out, b"Trailer", value);
                    }
                }
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
            }
            (Framing::Chunked | Framing::Close, Encoding::Raw) => {}
        }
        if self.closes {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
        self.head = Some(head);
        self.stage = Stage::Body;
        Ok(())
    }

    /// 101: what follows is no HTTP any more.
    fn switch(&mut self, head: ResponseHead, rules: Rules<'_>) -> Result<(), Fault> {
        if !rules.upgrade || !takes_what_was_offered(&head, rules.request) {
            return Err(Fault::UpstreamMalformed(
                "101 without an offer, or to something that was not offered",
            ));
        }
        let out = self.flow.out();
        print_start(out, &head);
        print_fields(out, &head, rules.name);
        out.extend_from_slice(b"Connection: upgrade\r\n");
        for value in head.fields.all("upgrade") {
            hop::print(out, b"Upgrade", value);
        }
        out.extend_from_slice(b"\r\n");
        self.head = Some(head);
        self.stage = Stage::Switch;
        Ok(())
    }
}

/// RFC 9110, 7.8: 101 says which protocols are spoken from then on, each of them one that the client named.
fn takes_what_was_offered(head: &ResponseHead, request: &Head) -> bool {
    let offered = |taken: &[u8]| {
        let mut all = request.fields.all("upgrade").flat_map(tokens);
        all.any(|offered| offered.eq_ignore_ascii_case(taken))
    };
    let mut taken = head.fields.all("upgrade").flat_map(tokens).peekable();
    taken.peek().is_some() && taken.all(offered)
}

/// Status line with the origin's own phrase.
fn print_start(out: &mut BytesMut, head: &ResponseHead) {
    out.reserve(HEAD_BYTES_USUAL);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(head.status.as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(head.phrase());
    out.extend_from_slice(b"\r\n");
}

/// What goes on, and `Via`; whether a date was among it.
fn print_fields(out: &mut BytesMut, head: &ResponseHead, name: &str) -> bool {
    let mut dated = false;
    for (name, value) in EndToEnd::of(&head.fields).iter() {
        dated |= name.eq_ignore_ascii_case(b"date");
        hop::print(out, name, value);
    }
    hop::print_via(out, head.version, name);
    dated
}

fn print_length(out: &mut BytesMut, length: u64) {
    hop::print(out, b"Content-Length", length.to_string().as_bytes());
}

/// `Keep-Alive: timeout=5`: how long the origin waits for another request.
fn patience(head: &ResponseHead) -> Option<Duration> {
    head.fields
        .all("keep-alive")
        .flat_map(tokens)
        .find_map(|token| {
            let (name, value) = std::str::from_utf8(token).ok()?.split_once('=')?;
            name.trim()
                .eq_ignore_ascii_case("timeout")
                .then_some(value.trim())
        })
        .and_then(|seconds| seconds.parse().ok())
        .map(Duration::from_secs)
}
