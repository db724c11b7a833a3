//! The program's output: its log, on standard error, and the results of commands, on standard output.
//!
//! A log line that cannot be written costs that line and nothing else. A thread of its own writes the lines, so that no
//! other thread waits for a reader that does not read; lines that wait are bounded in bytes, and lost ones are counted.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context;

/// Bytes of lines that may wait: some seconds of a busy server's requests at `debug`.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// How long the end of the program waits for the lines before it.
const LAST_LINES: Duration = Duration::from_secs(1);
/// How long a thread that panics waits for its line: the panic may be the end of the program.
const PANIC_LINE: Duration = Duration::from_millis(100);
/// The pause before a write is tried again whose reader cannot take more yet and says so.
const NOT_YET: Duration = Duration::from_millis(10);
/// The target of a panic's line in the log, which every filter lets through.
pub(crate) const PANIC_TARGET: &str = "panic";

/// The log; its clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// A line has come.
    filled: Condvar,
    /// The last line that waited is written, or lost.
    emptied: Condvar,
    lost: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    /// The bytes of these lines and of the one that is being written.
    bytes: usize,
}

impl Log {
    /// Starts the thread that writes to standard error.
    pub(crate) fn start() -> io::Result<Self> {
        Self::start_on(io::stderr())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the thread outlives all that log, and its queue is bounded"
    )]
    fn start_on(to: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            lost: Arc::default(),
        });
        let log = Self { shared: Arc::clone(&shared) };
        thread::Builder::new().name("log".to_owned()).spawn(move || shared.write_all(to))?;
        Ok(log)
    }

    /// Returns the counter of lines that could not be written.
    pub(crate) fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.shared.lost)
    }

    /// Writes a line of the program itself, which no filter of the log drops.
    pub(crate) fn say(&self, text: &str) {
        self.push(format!("{text}\n").into_bytes());
    }

    fn push(&self, line: Vec<u8>) {
        let mut waiting = self.shared.waiting();
        if waiting.bytes + line.len() > WAITING_BYTES_MAX {
            drop(waiting);
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.bytes += line.len();
        waiting.lines.push_back(line);
        drop(waiting);
        self.shared.filled.notify_one();
    }

    /// Waits until every line is written, but not for longer than this.
    fn flush_within(&self, wait: Duration) {
        let waiting = self.shared.waiting();
        // An error means that a thread has panicked with the lock; there is nothing to wait for then.
        let _ = self.shared.emptied.wait_timeout_while(waiting, wait, |waiting| waiting.bytes > 0);
    }

    /// Logs every panic as a line of the log, and waits shortly until it is written.
    pub(crate) fn log_panics(&self) {
        let log = self.clone();
        std::panic::set_hook(Box::new(move |panic| {
            log_panic(panic);
            log.flush_within(PANIC_LINE);
        }));
    }
}

/// Waits for the last lines when it is dropped, also if that is because of a panic.
#[derive(Debug)]
pub(crate) struct LastLines(pub(crate) Log);

impl Drop for LastLines {
    fn drop(&mut self) {
        self.0.flush_within(LAST_LINES);
    }
}

/// One call for each line, as tracing's subscribers do it.
impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Vec<u8> {
        let waiting = self.waiting();
        let none = |waiting: &mut Waiting| waiting.lines.is_empty();
        let mut waiting =
            self.filled.wait_while(waiting, none).unwrap_or_else(PoisonError::into_inner);
        waiting.lines.pop_front().unwrap_or_default()
    }

    /// Writes the lines as they come, for as long as the program runs.
    fn write_all(&self, to: impl Write) {
        let mut lines = Lines { to, is_torn: false };
        loop {
            let line = self.next();
            if lines.write(&line).is_err() {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
            let mut waiting = self.waiting();
            waiting.bytes -= line.len();
            if waiting.bytes == 0 {
                self.emptied.notify_all();
            }
        }
    }
}

/// The target of the lines, and whether the last one was cut off in the middle.
struct Lines<W> {
    to: W,
    is_torn: bool,
}

impl<W: Write> Lines<W> {
    /// Writes a line. An error costs the rest of it, unless it says "not now": lines wait then as they do for a reader that
    /// blocks.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.write_some(b"\n")?;
        }
        self.write_some(line)
    }

    fn write_some(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.to.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = &rest[written..];
                    self.is_torn = !rest.is_empty();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => not_yet(),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Lets a reader catch up that has said that it cannot take more.
#[expect(
    clippy::disallowed_methods,
    reason = "whatever lines go to does not tell when it can take more"
)]
fn not_yet() {
    thread::sleep(NOT_YET);
}

/// Logs a panic. The standard library's own hook writes to standard error itself, and would wait for its reader.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let message = panic.payload_as_str().unwrap_or("a panic without a message");
    let place = panic.location().map(ToString::to_string);
    // Captured if `RUST_BACKTRACE` is set.
    let backtrace = Backtrace::capture();
    let is_captured = backtrace.status() == BacktraceStatus::Captured;
    let backtrace = is_captured.then(|| backtrace.to_string());
    tracing::error!(
        target: PANIC_TARGET,
        thread = thread.name(),
        place,
        backtrace,
        "panicked: {message}"
    );
}

/// Says whether the output still has a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    There,
    Gone,
}

/// Prints what a command was asked for. A reader that has gone has seen what it wanted; any other failure is an error,
/// since the caller would take what is there for all of it.
pub(crate) fn print(text: &str) -> anyhow::Result<Reader> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

/// Prints on a thread of its own, which may wait for ever for a reader that does not read, so that the caller can
/// attend to signals.
pub(crate) async fn print_aside(text: String) -> anyhow::Result<Reader> {
    let printed = tokio::task::spawn_blocking(move || print(&text)).await;
    printed.context("printing has failed")?
}

/// Prints on standard output where a server listens. The server runs on if the output has no reader, or cannot be
/// written.
pub(crate) async fn announce(text: String) {
    let _ = print_aside(text).await;
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;
    use crate::options::LogFormat;

    /// Takes a number of bytes, fails once, and repeats that.
    struct Failing {
        taken: Arc<Mutex<Vec<u8>>>,
        takes: usize,
        fails: bool,
        kind: ErrorKind,
    }

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.fails = !self.fails;
            if !self.fails {
                return Err(self.kind.into());
            }
            let some = &bytes[..bytes.len().min(self.takes)];
            self.taken.lock().unwrap().extend_from_slice(some);
            Ok(some.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_torn_line_does_not_run_into_the_next() {
        let taken: Arc<Mutex<Vec<u8>>> = Arc::default();
        let to = Failing {
            taken: Arc::clone(&taken),
            takes: 4,
            fails: false,
            kind: ErrorKind::StorageFull,
        };
        let mut lines = Lines { to, is_torn: false };
        assert!(lines.write(b"one two\n").is_err());
        assert!(lines.write(b"lost\n").is_err());
        lines.to.kind = ErrorKind::Interrupted;
        lines.write(b"three\n").unwrap();
        assert_eq!(String::from_utf8_lossy(&taken.lock().unwrap()), "one \nthree\n");
    }

    #[test]
    fn a_line_waits_for_a_reader_that_is_not_ready() {
        let taken: Arc<Mutex<Vec<u8>>> = Arc::default();
        let to = Failing {
            taken: Arc::clone(&taken),
            takes: 4,
            fails: false,
            kind: ErrorKind::WouldBlock,
        };
        let mut lines = Lines { to, is_torn: false };
        lines.write(b"one two\n").unwrap();
        lines.write(b"three\n").unwrap();
        assert_eq!(String::from_utf8_lossy(&taken.lock().unwrap()), "one two\nthree\n");
    }

    /// Keeps what is written.
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_logged_whatever_the_filter_leaves_out() {
        for filter in ["off", "placard_api=debug", "info", "panic=off"] {
            for format in [LogFormat::Text, LogFormat::Json] {
                let written: Arc<Mutex<Vec<u8>>> = Arc::default();
                let log = Log::start_on(Kept(Arc::clone(&written))).unwrap();
                let last_lines = LastLines(log.clone());
                let hook = std::panic::take_hook();
                log.log_panics();
                let subscriber = crate::subscriber(&log, filter, format).unwrap();
                tracing::subscriber::with_default(subscriber, || {
                    std::panic::catch_unwind(|| panic!("out of ads")).unwrap_err();
                });
                std::panic::set_hook(hook);
                drop(last_lines);
                let written = written.lock().unwrap();
                let written = String::from_utf8_lossy(&written);
                assert!(written.contains("panicked: out of ads"), "{filter}: {written}");
            }
        }
    }

    /// A reader that does not read: each write waits until it is let go.
    struct Blocked {
        begun: SyncSender<()>,
        go: Receiver<()>,
    }

    impl Write for Blocked {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.begun.send(());
            let _ = self.go.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_lost_and_counted_when_nobody_reads() {
        let ((begun, is_writing), (let_go, go)) = (sync_channel(1), sync_channel(0));
        let log = Log::start_on(Blocked { begun, go }).unwrap();
        let line = "x".repeat(1 << 20);
        log.say(&line);
        is_writing.recv().unwrap();
        drop(is_writing);
        // With their line ends three fit: the one that is being written, and two that wait.
        for lost in [0, 0, 1, 2] {
            log.say(&line);
            assert_eq!(log.lost().load(Ordering::Relaxed), lost);
        }
        // It comes back although nothing was written.
        log.flush_within(PANIC_LINE);
        drop(let_go);
        log.flush_within(Duration::from_secs(60));
        assert_eq!(log.shared.waiting().bytes, 0);
    }
}
