//! Every limit of the system in one table, so that "is it bounded, and by what?" has one place to look.

use std::time::Duration;

/// Shortest title, in Unicode scalars.
pub const TITLE_CHARS_MIN: u64 = 5;
/// Longest title, in Unicode scalars.
pub const TITLE_CHARS_MAX: u64 = 100;
/// Shortest content, in Unicode scalars.
pub const CONTENT_CHARS_MIN: u64 = 1;
/// Longest content, in Unicode scalars.
pub const CONTENT_CHARS_MAX: u64 = 10_000;
/// Youngest age that can be targeted or asked for, in years.
pub const AGE_MIN: u8 = 1;
/// Oldest age that can be targeted or asked for, in years.
pub const AGE_MAX: u8 = 100;

/// Shortest name of a pool, in Unicode scalars.
pub const POOL_NAME_CHARS_MIN: u64 = 1;
/// Longest name of a pool, in Unicode scalars.
pub const POOL_NAME_CHARS_MAX: u64 = 100;
/// Largest capacity of a pool, in units: a number that JSON readers of 64-bit floats take exactly.
pub const CAPACITY_MAX: u64 = 1_000_000_000_000_000;
/// Shortest time for which units are reserved, in seconds.
pub const EXPIRES_IN_MIN: u64 = 1;
/// Longest time for which units are reserved without being confirmed, in seconds: a leap year.
pub const EXPIRES_IN_MAX: u64 = 366 * 86_400;
/// How long the tombstone of a reservation is kept.
pub const TOMBSTONE_KEPT: Duration = Duration::from_secs(24 * 3600);
/// Most lapsed reservations that a command closes to make room for what it gives.
pub const LAPSED_MAX: usize = 100;
/// Most lapsed reservations that a transaction reads, unless that leaves fewer than [`LAPSED_MAX`] to each pool that it names.
pub const LAPSED_READ_MAX: usize = 1_024;
/// Most items of a replica's report.
pub const REPORT_ITEMS_MAX: usize = 200;
/// A flight is divided into as many allotments.
pub const ALLOTMENTS_OF_A_FLIGHT: u32 = 720;
/// Shortest time that an allotment of an even pool is meant for.
pub const ALLOTMENT_MIN: Duration = Duration::from_secs(2);
/// Longest time that an allotment of an even pool is meant for.
pub const ALLOTMENT_MAX: Duration = Duration::from_secs(60);

/// Ads, or pools, on a page if the request does not say.
pub const PAGE_ADS_DEFAULT: u32 = 10;
/// Fewest ads, or pools, that a page can be asked for.
pub const PAGE_ADS_MIN: u32 = 1;
/// Most ads, or pools, that a page can be asked for.
pub const PAGE_ADS_MAX: u32 = 100;
/// Largest offset, in ads.
pub const OFFSET_MAX: u32 = 10_000_000;

/// Largest version that the API accepts or shows: the journal and most clients count in signed 64-bit numbers.
pub const VERSION_MAX: u64 = i64::MAX as u64;

/// Most ads in one batch request.
pub const BATCH_ITEMS_MAX: usize = 1_000;
/// Largest body of a batch request, in bytes.
pub const BATCH_BODY_BYTES_MAX: usize = 8 << 20;
/// Lowest weight of an ad, and the one of an ad that says none.
pub const WEIGHT_DEFAULT: u32 = 1;
/// Highest weight of an ad.
pub const WEIGHT_MAX: u32 = 1_000_000;
/// Longest link of an ad, in bytes.
pub const LINK_BYTES_MAX: usize = 2_048;
/// Largest body of a single write, in bytes: the longest content, wholly written as `\uXXXX` pairs, fits.
pub const AD_BODY_BYTES_MAX: usize = 256 << 10;
/// Largest body of a write of a pool or a reservation, in bytes.
pub const POOL_BODY_BYTES_MAX: usize = 64 << 10;
/// Most bytes of request bodies that are being read and decided at once; one more waits, and is refused with
/// 503 if it waits for too long.
pub const BODIES_BYTES_MAX: usize = 256 << 20;
/// Most values that a client may list in one condition of an ad.
pub const CONDITION_VALUES_MAX: usize = 1_000;
/// Longest `Idempotency-Key`, in bytes of visible ASCII.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// How long an idempotent answer is kept.
pub const IDEMPOTENCY_KEPT: Duration = Duration::from_secs(24 * 3600);

/// Most entries that the committer drains into one transaction; one larger batch request may exceed it alone.
pub const COMMIT_ENTRIES_MAX: usize = 512;
/// Most bytes of commands that the committer drains into one transaction; as above for a batch request.
pub const COMMIT_BYTES_MAX: usize = 1 << 20;
/// Most write requests waiting in the committer's queue; one more is refused with 503.
pub const QUEUE_REQUESTS_MAX: usize = 8_192;
/// Most bytes of commands waiting in the committer's queue; one more request is refused with 503.
pub const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Most entries read from the log or the stream in one go.
pub const READ_ENTRIES_MAX: usize = 1_024;
/// Most bytes of entries read from the log or the stream in one go, unless a single entry has more. Entries of an
/// ordinary size stay below it, and a page of any entries arrives within a read's deadline on a path of about
/// 3 Mbit/s. On a slower path pages are made smaller.
pub const READ_BYTES_MAX: usize = 512 << 10;
/// No entry is larger, in bytes: the longest content in four bytes a character, and all else that an entry says.
pub const ENTRY_BYTES_MAX: usize = 48 << 10;
/// Most entries held for the stream while it cannot take them; beyond, they are read from the journal again.
pub const UNAPPENDED_ENTRIES_MAX: usize = 8_192;
/// Entries that the in-process stream keeps; a tailer further behind reads the journal.
pub const STREAM_ENTRIES_MAX: usize = 16_384;

/// Most entries that are applied before readers see them, unless the replica is catching up: some milliseconds
/// at the writer's full speed. Each publication costs the next readers a few misses of their caches, so that
/// one every 64 entries doubles their p99.9 (`docs/performance/index.md` has it at this number).
pub const PUBLISH_ENTRIES_MAX: usize = 256;
/// How often ads that have begun or ended are moved in the index; answers are right at any time.
pub const INDEX_ADVANCE: Duration = Duration::from_millis(100);
/// The same while there are more of them than are moved at once.
pub const INDEX_ADVANCE_MORE: Duration = Duration::from_millis(1);
/// How often a replica trims the stream.
pub const STREAM_TRIM: Duration = Duration::from_secs(5);
/// Entries kept in the stream beyond what the slowest live replica needs, for those that are just joining.
pub const STREAM_SPARE: u64 = 1_024;
/// How long a stream is kept that no replica appends to or trims: that of a journal whose server was started again, or
/// of a cluster that no longer exists. The replicas of a cluster that comes back later read the journal.
pub const STREAM_KEPT: Duration = Duration::from_secs(600);
/// How long Redis remembers which journal a cluster had.
pub const JOURNAL_REMEMBERED: Duration = Duration::from_secs(30 * 86_400);
/// How long a replica counts as live after a head poll.
pub const LEASE: Duration = Duration::from_secs(2);
/// How long after its lease a replica that has gone silent still counts as registered, by the clock of the replica that
/// counts.
pub const MEMBER_KEPT: Duration = Duration::from_secs(3600);
/// Most rows of the register; beyond, those that were seen longest ago are deleted.
pub const MEMBERS_MAX: i64 = 1_024;

/// Most ads, reservations and tombstones whose deletion is proposed in one request, because they have ended.
pub const EXPIRED_MAX: usize = COMMIT_ENTRIES_MAX;
/// How often a replica asks the journal what has ended, whatever tasks there are (plus or minus a fifth).
pub const EXPIRY_SWEEP: Duration = Duration::from_secs(5);
/// How often a replica asks the journal in which seconds ads will end or reservations lapse, and puts a task for each into the queue.
pub const EXPIRY_PLAN: Duration = Duration::from_secs(1);
/// How far ahead it asks.
pub const EXPIRY_AHEAD: Duration = Duration::from_secs(60);
/// Most seconds that one such query returns; the others come with a later one.
pub const EXPIRY_SECONDS_MAX: usize = 128;
/// How often a worker asks the queue for tasks that are due.
pub const EXPIRY_POLL: Duration = Duration::from_millis(100);
/// By how much the journal's clock may drift from elapsed time between two queries for what has ended, and by how much it
/// may differ from this machine's; beyond that nothing is deleted.
pub const CLOCK_OFF_MAX: Duration = Duration::from_secs(1);
/// How often old rows of the log are dropped.
pub const TRIM_LOG: Duration = Duration::from_secs(600);
/// How long rows of the log are kept by default.
pub const LOG_KEPT: Duration = Duration::from_secs(168 * 3600);
/// How often old answers of idempotency keys are dropped.
pub const FORGET_ANSWERS: Duration = Duration::from_secs(600);
/// How often tasks that are done are dropped.
pub const FORGET_TASKS: Duration = Duration::from_secs(60);
/// How long tasks that are done are kept, for operators who look at them.
pub const TASKS_KEPT: Duration = Duration::from_secs(600);

/// How long a write may take before its client is answered without a definite result.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(5);
/// How long a read may wait for the `min_version` it asks for.
pub const MIN_VERSION_WAIT: Duration = Duration::from_secs(2);
/// How long a write with `ack=all` may wait for the other replicas.
pub const ACK_ALL_WAIT: Duration = Duration::from_secs(5);
/// How often a replica reads the journal's head (plus or minus a fifth).
pub const HEAD_POLL: Duration = Duration::from_millis(250);
/// Longest pause between two restores that did not succeed.
pub const RESTORE_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Most requests between the handlers and the committer's queue, which takes them in at once; one more is
/// refused with 503.
pub const SUBMISSIONS_MAX: usize = 1_024;
/// Longest pause between two attempts at the same transaction.
pub const RETRY_PAUSE_MAX: Duration = Duration::from_millis(500);

/// Most clients that follow the log on one replica, or wait for its next entry; one more is refused with 503.
pub const FEED_CLIENTS_MAX: usize = 64;
/// Entries that an answer has if the request does not say.
pub const FEED_ENTRIES_DEFAULT: u32 = 100;
/// Most entries that one answer can be asked for.
pub const FEED_ENTRIES_MAX: u32 = 1_000;
/// Longest time, in seconds, for which a request can ask to wait for the next entry: load balancers give up a server that
/// has sent nothing for some 12 s.
pub const FEED_WAIT_MAX: u32 = 10;
/// How long such a request waits at most for the journal, when there are entries to be read.
pub const FEED_READ_DEADLINE: Duration = Duration::from_secs(5);
/// How often something is sent on an event stream, if nothing happens: load balancers give it up otherwise.
pub const FEED_HEARTBEAT: Duration = Duration::from_secs(5);
/// The pause before the log is read again after it could not be read.
pub const FEED_RETRY: Duration = Duration::from_secs(1);
/// How long a client of an event stream that has ended is asked to wait before it asks again.
pub const FEED_RECONNECT: Duration = Duration::from_millis(500);
/// Most bytes of events, about, that are made at once for one client.
pub const FEED_CHUNK_BYTES: usize = 16 << 10;

/// Most bearer tokens that a server accepts: enough for some writers to have two each while tokens are rotated.
pub const TOKENS_MAX: usize = 64;
/// Shortest bearer token, in bytes.
pub const TOKEN_BYTES_MIN: usize = 16;
/// Longest bearer token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 512;
/// Longest name of a bearer token, in bytes.
pub const TOKEN_NAME_BYTES_MAX: usize = 64;
/// Most origins that a server lets read from browsers.
pub const CORS_ORIGINS_MAX: usize = 64;
/// Longest `X-Request-Id` that is taken over from a client, in bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

/// Most broken rules that one answer lists.
pub const VIOLATIONS_MAX: usize = 100;
/// Most bytes of a name, or of a parser's message, that an answer repeats to a client; the rest is cut.
pub const TOLD_BYTES_MAX: usize = 256;
/// Most replicas that one answer lists.
pub const MEMBERS_SHOWN_MAX: usize = 1_024;

/// Connections to a server at once, by default. When there is no room for one more, the ones that were silent or idle
/// for longest are closed.
pub const CONNECTIONS_MAX: usize = 10_000;
/// Connections that are accepted beyond the maximum, so that health checks get their answers; any other request on them
/// waits for room, and gets 503 if no room comes.
pub const CONNECTIONS_RESERVED: usize = 64;
/// How long a request on such a connection waits for room.
pub const ROOM_DEADLINE: Duration = Duration::from_secs(1);
/// How long a connection is silent or idle at least before it has to make room: its next request may be on its way.
pub const SILENCE_MIN: Duration = Duration::from_millis(250);
/// How long a connection may stay idle between two requests, by default: longer than any load balancer keeps one whose
/// timeout cannot be configured (Google's: 600 s).
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(620);
/// How long idle connections are still served when a server that stops has closed its listener.
pub const LAST_REQUESTS: Duration = Duration::from_millis(250);
/// Connections that wait to be accepted, if `net.core.somaxconn` allows as many.
pub const BACKLOG: u32 = 4_096;
/// Connections to the task board served at once.
pub const BOARD_CONNECTIONS_MAX: usize = 64;
/// How long the task board may take for an answer.
pub const BOARD_DEADLINE: Duration = Duration::from_secs(5);
/// Most tasks on a page of the task board.
pub const BOARD_PAGE_TASKS_MAX: u32 = 1_000;
/// The last page of tasks that the board can be asked for.
pub const BOARD_PAGES_MAX: u32 = 100_000;
/// How long a request's head may take to arrive, from its first byte.
pub const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// How long a request's body may take to arrive.
pub const BODY_DEADLINE: Duration = Duration::from_secs(10);
/// Most bytes of a refused request that are still taken in, so that its client gets to read the answer.
pub const UNWANTED_BYTES_MAX: u64 = 256 << 20;
/// How long a refused request is still taken in.
pub const UNWANTED_DEADLINE: Duration = Duration::from_secs(10);
/// How long a client that has all its answers may take to close its side of the connection.
pub const CLOSE_SIDE_DEADLINE: Duration = Duration::from_secs(1);
/// How long the peer may take none of an answer's bytes before the connection is dropped.
pub const STALL_DEADLINE: Duration = Duration::from_secs(10);
/// Longest address of a replica, its host and its port, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 255;
/// Largest request head, in bytes: its first line and its fields, each as `name: value` with the line's end.
pub const HEAD_BYTES_MAX: usize = 64 << 10;
/// Most header fields in a request: a mesh and two tracing systems add dozens. It is as many as hyper has room for without an
/// allocation.
pub const HEADERS_MAX: usize = 100;
/// Longest path in a span, in bytes; a longer one is cut.
pub const SPAN_PATH_BYTES_MAX: usize = 256;
/// Longest `tracestate` that is taken over, in bytes: what W3C's Trace Context (section 3.3.1.5) asks for at least. A
/// longer one is ignored.
pub const TRACESTATE_BYTES_MAX: usize = 512;
/// Spans of traced writes that wait to be sent; one more is dropped, and counted.
pub const SPANS_MAX: usize = 8_192;
/// How long a collector may take for the spans that it is sent at once.
pub const EXPORT_DEADLINE: Duration = Duration::from_secs(5);
/// How long a stopped server waits until its last spans are sent.
pub const LAST_SPANS_DEADLINE: Duration = Duration::from_millis(400);
/// How long a stopping server waits until an embedded journal is in one file.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(2);
/// How long a stopping server waits for requests under way and queued writes.
pub const STOP_DEADLINE: Duration = Duration::from_millis(4_500);
