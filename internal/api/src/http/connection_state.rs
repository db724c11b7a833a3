//! The state of a connection that its own task, its stream and the server share: its phase, the order that it has, and
//! how much of the request under way has arrived.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use placard_model::limits;

/// Where a connection is in its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing has come on it.
    Silent,
    /// A part of a request's head has come.
    Head,
    /// A request is being read or decided.
    Request,
    /// Its answer is on the way.
    Answer,
    /// Every request so far is answered.
    Idle,
    /// The sending side is shut; what comes is thrown away.
    Closing,
}

impl Phase {
    const ALL: [Self; 6] =
        [Self::Silent, Self::Head, Self::Request, Self::Answer, Self::Idle, Self::Closing];

    /// The queue in which one waits to make room.
    pub(crate) fn queue(self) -> Queue {
        match self {
            Self::Silent | Self::Head | Self::Closing => Queue::Silent,
            Self::Request | Self::Answer | Self::Idle => Queue::Served,
        }
    }
}

/// Where a connection waits to make room for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queue {
    /// No whole request has come since it began, or since its last answer.
    Silent,
    /// It has a request, or its requests are answered.
    Served,
}

/// What other tasks have ordered a connection to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Stay,
    /// Go, unless it has a request.
    MakeRoom,
    /// Go as soon as it has no request.
    Finish,
}

/// State of a connection that other tasks may read, and orders that they may give it. Only the connection's own task
/// changes its phase.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    /// The phase, and when it began, by [`Occupancy::now_ms`](crate::http::occupancy::Occupancy::now_ms).
    moment: AtomicU64,
    order: AtomicU8,
    /// The queue in which it waits for its turn to go; only its own task changes that.
    pub(crate) queue: AtomicU8,
    /// Whether a part of the request's body was not read.
    pub(crate) owed: AtomicBool,
    /// Bytes of the body that are yet to come: [`UNKNOWN`] if it is in chunks.
    pub(crate) to_come: AtomicU64,
    /// Whether something came behind a body in chunks.
    pub(crate) is_followed: AtomicBool,
    /// Whether the request's head says a length.
    pub(crate) says_length: AtomicBool,
    /// Whether the client had shut its sending side behind what it sent, in a time for which this process was held.
    pub(crate) is_abandoned: AtomicBool,
    /// Whether it was taken in beyond the most there may be, and room was not found since.
    pub(crate) is_extra: AtomicBool,
    pub(crate) waker: AtomicWaker,
}

/// The length of a body in chunks.
pub(crate) const UNKNOWN: u64 = u64::MAX;

/// Bits of a moment that hold the phase.
const PHASE_BITS: u32 = 3;

impl ConnectionState {
    /// Returns the state of a connection that begins at this millisecond.
    pub(crate) fn new(now_ms: u64, is_extra: bool) -> Self {
        Self {
            moment: AtomicU64::new(now_ms << PHASE_BITS | Phase::Silent as u64),
            order: AtomicU8::new(Order::Stay as u8),
            queue: AtomicU8::new(Queue::Silent as u8),
            owed: AtomicBool::new(false),
            to_come: AtomicU64::new(0),
            is_followed: AtomicBool::new(false),
            says_length: AtomicBool::new(false),
            is_abandoned: AtomicBool::new(false),
            is_extra: AtomicBool::new(is_extra),
            waker: AtomicWaker::new(),
        }
    }

    /// Returns the phase, and the millisecond at which it began.
    pub(crate) fn phase(&self) -> (Phase, u64) {
        let moment = self.moment.load(Ordering::Relaxed);
        let phase = moment & ((1 << PHASE_BITS) - 1);
        (Phase::ALL[phase as usize], moment >> PHASE_BITS)
    }

    pub(crate) fn enter(&self, phase: Phase, now_ms: u64) {
        self.moment.store(now_ms << PHASE_BITS | phase as u64, Ordering::Relaxed);
    }

    pub(crate) fn order(&self) -> Order {
        match self.order.load(Ordering::Relaxed) {
            order if order == Order::MakeRoom as u8 => Order::MakeRoom,
            order if order == Order::Finish as u8 => Order::Finish,
            _ => Order::Stay,
        }
    }

    /// Changes the order from `before`, if that is the current one: nothing replaces [`Order::Finish`].
    fn tell(&self, before: Order, order: Order) {
        let (before, order) = (before as u8, order as u8);
        let told = self.order.compare_exchange(before, order, Ordering::Relaxed, Ordering::Relaxed);
        if told.is_ok() {
            self.waker.wake();
        }
    }

    /// Orders it to go, unless it has a request by then.
    pub(crate) fn make_room(&self) {
        self.tell(Order::Stay, Order::MakeRoom);
    }

    /// Takes back [`ConnectionState::make_room`].
    pub(crate) fn stay(&self) {
        self.tell(Order::MakeRoom, Order::Stay);
    }

    /// Orders it to go as soon as it has no request.
    pub(crate) fn finish(&self) {
        self.order.store(Order::Finish as u8, Ordering::Relaxed);
        self.waker.wake();
    }

    /// Returns how long its phase may last.
    pub(crate) fn allowed(&self, phase: Phase, idle_timeout: Duration) -> Option<Duration> {
        match phase {
            Phase::Silent | Phase::Idle => Some(idle_timeout),
            Phase::Head => Some(limits::HEADER_DEADLINE),
            // Bodies, decisions and answers have deadlines of their own.
            Phase::Request | Phase::Answer => None,
            Phase::Closing => {
                let (owed, ends) =
                    (self.owed.load(Ordering::Relaxed), self.order() == Order::Finish);
                Some(match (owed, ends) {
                    (true, false) => limits::UNWANTED_DEADLINE,
                    (false, true) => Duration::ZERO,
                    _ => limits::CLOSE_SIDE_DEADLINE,
                })
            }
        }
    }
}
