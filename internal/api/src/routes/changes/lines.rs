//! A page of the log, an entry in each line.

use std::pin::pin;
use std::time::Duration;

use placard_model::Cursor;
use placard_model::entry::Record;
use placard_model::limits::FEED_READ_DEADLINE;
use placard_replica::LogFeed;
use tokio::time::{sleep, timeout};

use super::{problem_of, shown};
use crate::feed::Slot;
use crate::http::problem::Problem;

/// Which entries a client asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) after: Cursor,
    /// How many at most.
    pub(super) limit: usize,
    /// How long to wait for the first of them.
    pub(super) wait: Duration,
}

/// Returns the page.
pub(super) async fn lines(
    log: &LogFeed,
    wanted: Wanted,
    mut slot: Slot,
) -> Result<Vec<u8>, Problem> {
    let mut lines = Vec::new();
    for record in page(log, wanted, &mut slot).await? {
        match shown(&record) {
            Ok(line) => lines.extend_from_slice(&line),
            // Those before it are sent; the client's next request begins with this one.
            Err(_) if !lines.is_empty() => break,
            Err(problem) => return Err(problem),
        }
        lines.push(b'\n');
        slot.sends_one();
    }
    Ok(lines)
}

/// Waits for the records, and returns them; nothing if none comes in time.
async fn page(log: &LogFeed, wanted: Wanted, slot: &mut Slot) -> Result<Vec<Record>, Problem> {
    let Wanted { after, limit, wait } = wanted;
    let mut over = pin!(sleep(wait));
    loop {
        let read = timeout(FEED_READ_DEADLINE, log.after(after, limit)).await;
        let page = read.map_err(|_| Problem::log_unavailable())?;
        let page = page.map_err(|error| problem_of(&error))?;
        if !page.is_empty() {
            return Ok(page);
        }
        tokio::select! {
            has_moved = log.moved(after) => if !has_moved { return Ok(page) },
            () = &mut over => return Ok(page),
            () = slot.ends() => return Ok(page),
        }
    }
}
