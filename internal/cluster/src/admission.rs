//! How a replica that says it is ready gets requests: the balancer learns where it is, and has to find it ready itself.

use std::io;
use std::time::{Duration, Instant};

use crate::process::PAUSE;
use crate::replica::{Replica, name};
use crate::servers::haproxy::HaProxy;

/// How long the balancer may take to find a replica ready that says so.
const ADMISSION: Duration = Duration::from_secs(30);

/// Has the balancer send a ready replica requests, once it has found it ready itself.
pub(crate) async fn admit(haproxy: Option<&HaProxy>, slot: u16, port: u16) -> io::Result<()> {
    let Some(haproxy) = haproxy else { return Ok(()) };
    haproxy.admit(slot, port).await?;
    let found = async {
        while !haproxy.has_found(slot).await {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(ADMISSION, found).await.map_err(|_| unfound(slot))
}

/// As [`admit`], without waiting: returns true if the balancer has found the replica ready.
pub(crate) async fn look(
    haproxy: Option<&HaProxy>,
    slot: u16,
    port: u16,
    replica: &mut Replica,
) -> io::Result<bool> {
    let Some(haproxy) = haproxy else { return Ok(true) };
    match replica.announced {
        Some((at, since)) if at == port && since.elapsed() > ADMISSION => {
            replica.announced = None;
            return Err(unfound(slot));
        }
        Some((at, _)) if at == port => {}
        _ => {
            haproxy.admit(slot, port).await?;
            replica.announced = Some((port, Instant::now()));
        }
    }
    Ok(haproxy.has_found(slot).await)
}

fn unfound(slot: u16) -> io::Error {
    io::Error::other(format!("the balancer does not find {} ready", name(slot)))
}
