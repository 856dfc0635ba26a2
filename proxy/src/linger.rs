//! The end of a connection whose other side may still be sending: it reads what it was told before it notices the end.
//!
//! Closing over bytes that nobody read resets the connection, and a reset takes from the other side what it has not read
//! yet, a status above all. So writing ends first, and what still comes is read away. Whoever was told that the connection
//! ends, ends it; whoever was not and falls silent has nothing more to lose.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, timeout, timeout_at};

/// Silence that ends it: more than a round trip around the world, and less than anybody waits for a descriptor.
pub(crate) const SILENCE: Duration = Duration::from_secs(2);
/// Longest time in all, for a body that keeps coming: nginx's `lingering_time`.
pub(crate) const TIME: Duration = Duration::from_secs(30);
/// Most bytes that are read away: the largest webhooks in common use have 25 MB (GitHub). Past this nobody waits for an
/// answer, and a stranger's bytes are not worth their traffic.
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes read away at once, on the stack.
const READ_BYTES: usize = 8 * 1024;

/// Says that nothing more comes, and reads away what still arrives: to its end, to a silence, to [`BYTES_MAX`], or for so
/// long.
pub(crate) async fn close<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, time: Duration) {
    let deadline = Instant::now() + time;
    let said = async {
        stream.shutdown().await?;
        read_away(stream).await
    };
    // Who has gone needs no farewell.
    let _ = timeout_at(deadline, said).await;
}

/// Reads away what arrives, to its end, to a silence, or to its bound.
async fn read_away(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut left = BYTES_MAX;
    while left > 0 {
        let more = poll_fn(|cx| {
            let mut chunk = [MaybeUninit::uninit(); READ_BYTES];
            let mut read = ReadBuf::uninit(&mut chunk);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut read))?;
            Poll::Ready(io::Result::Ok(read.filled().len()))
        });
        match timeout(SILENCE, more).await {
            Ok(Ok(count @ 1..)) => left = left.saturating_sub(count),
            Ok(Ok(0)) | Err(_) => break,
            Ok(Err(error)) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a client in a test")]
    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn whoever_sends_megabytes_first_reads_its_answer_all_the_same() {
        let (mut client, mut server) = pair().await;
        let serving = tokio::spawn(async move {
            server.write_all(b"answer").await.unwrap();
            close(&mut server, TIME).await;
        });
        client.write_all(&vec![0; 8 * 1024 * 1024]).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
        drop(client);
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn bytes_without_an_end_are_read_to_the_bound() {
        let (mut client, mut server) = pair().await;
        let serving = tokio::spawn(async move { close(&mut server, TIME).await });
        let piece = vec![0; 1024 * 1024];
        let mut sent = 0;
        while client.write_all(&piece).await.is_ok() {
            sent += piece.len();
            assert!(sent < 4 * BYTES_MAX, "nobody ends it");
        }
        assert!(sent >= BYTES_MAX);
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn silence_and_time_end_it() {
        let (client, mut server) = pair().await;
        let began = Instant::now();
        close(&mut server, TIME).await;
        assert!(began.elapsed() >= SILENCE && began.elapsed() < TIME / 2);
        drop(client);
        let (mut client, mut server) = pair().await;
        let sending = tokio::spawn(async move {
            while client.write_all(&[0; 1024]).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let began = Instant::now();
        close(&mut server, Duration::from_millis(100)).await;
        assert!(began.elapsed() < SILENCE);
        drop(server);
        sending.await.unwrap();
    }
}
