//! Tells the service manager that started the program when it is ready and when it stops, as systemd wants it of a service
//! of `Type=notify` (sd_notify(3)): a datagram to the socket that `NOTIFY_SOCKET` names: a path, or on Linux an
//! abstract socket as `@name`.

use std::ffi::OsStr;
use std::io;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
#[cfg(target_os = "linux")]
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// How long a manager that does not read may hold the server up.
const PATIENCE: Duration = Duration::from_secs(1);
/// What a process takes to end on a busy machine, beside what the server takes to stop.
const SPARE: Duration = Duration::from_secs(8);

/// Tells that the server serves and is ready.
pub(crate) fn ready() {
    tell("READY=1");
}

/// Tells that the server stops, and for how long it must not be killed, which depends on its drain delay.
pub(crate) fn stopping(within: Duration) {
    tell(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}", (within + SPARE).as_micros()));
}

/// A manager that cannot be reached has no part in what the server does.
fn tell(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
        return;
    };
    if let Err(error) = send(&socket, state) {
        tracing::warn!(%error, state, "the socket of the service manager (NOTIFY_SOCKET) takes nothing");
    }
}

fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let datagrams = UnixDatagram::unbound()?;
    datagrams.set_write_timeout(Some(PATIENCE))?;
    datagrams.send_to_addr(state.as_bytes(), &address(socket)?).map(drop)
}

fn address(socket: &OsStr) -> io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = socket.as_bytes().strip_prefix(b"@") {
        return SocketAddr::from_abstract_name(name);
    }
    SocketAddr::from_pathname(socket)
}
