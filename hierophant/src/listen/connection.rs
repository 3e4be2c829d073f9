//! A connection with or without TLS, counted while open.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;

use super::Admitted;
use super::activity::Activity;
use super::limiter::ConnectionPermit;
use super::pace::{Pace, Pause};

/// The byte stream of a connection.
pub(super) struct Raw<I> {
    io: I,
    /// A byte already read to detect the protocol.
    first: Option<u8>,
    activity: Activity,
    pace: Pace,
    /// Timer that runs while reading waits, and the place of the connection among those that wait.
    paused: Option<(Pin<Box<Sleep>>, ConnectionPermit)>,
    stall_time: Duration,
    /// Timer that runs while the peer does not read.
    stalled: Option<Pin<Box<Sleep>>>,
    _admitted: Admitted,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Raw<I> {
    /// The stream of an accepted connection.
    pub(super) fn new(
        io: I,
        admitted: Admitted,
        activity: Activity,
        pace: Pace,
        stall_time: Duration,
    ) -> Self {
        let (first, paused, stalled) = (None, None, None);
        Self { io, first, activity, pace, paused, stall_time, stalled, _admitted: admitted }
    }

    /// Waits until the connection may be read.
    ///
    /// # Errors
    ///
    /// If too many connections wait.
    pub(super) async fn turn(&mut self) -> io::Result<()> {
        poll_fn(|context| self.poll_pace(context)).await
    }

    /// Waits as long as the pace says, or fails if too many connections wait.
    fn poll_pace(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.paused.is_none()
            && let Some(Pause { time, place }) = self.pace.pause()
        {
            let many = "too many connections of an address beyond its rate";
            let place = place.ok_or_else(|| io::Error::new(io::ErrorKind::QuotaExceeded, many))?;
            self.paused = Some((Box::pin(tokio::time::sleep(time)), place));
            self.activity.pause();
        }
        if let Some((timer, _)) = &mut self.paused {
            ready!(timer.as_mut().poll(context));
            self.paused = None;
            self.activity.resume();
            self.pace.waited();
        }
        Poll::Ready(Ok(()))
    }

    /// Puts back a byte.
    pub(super) fn put_back(&mut self, byte: u8) {
        self.first = Some(byte);
    }

    /// Passes `written` on, or fails if the peer has not read for too long.
    fn unless_stalled(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let limit = self.stall_time;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for Raw<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buffer.remaining() > 0
            && let Some(byte) = this.first.take()
        {
            buffer.put_slice(&[byte]);
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_pace(context))?;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(context, buffer))?;
        let bytes = buffer.filled().len() - before;
        if bytes > 0 {
            this.activity.heard(bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Raw<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(context, bytes);
        this.unless_stalled(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(context, bytes);
        this.unless_stalled(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}

/// A connection ready for requests.
pub(super) enum Connection<I> {
    /// Without TLS.
    Plain(Raw<I>),
    /// With TLS.
    Tls(Box<TlsStream<Raw<I>>>),
}

/// Pinned inner stream.
macro_rules! inner {
    ($self:ident, $io:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Plain($io) => {
                let $io = Pin::new($io);
                $call
            }
            Self::Tls($io) => {
                let $io = Pin::new($io.as_mut());
                $call
            }
        }
    };
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for Connection<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        inner!(self, io => io.poll_read(context, buffer))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        inner!(self, io => io.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        inner!(self, io => io.poll_write_vectored(context, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(io) => io.is_write_vectored(),
            Self::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        inner!(self, io => io.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        inner!(self, io => io.poll_shutdown(context))
    }
}
