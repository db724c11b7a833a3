//! Properties of the policy on a model of a cluster, and what it does in cases that a model does not reach.

use proptest::prelude::*;

use super::*;

/// The requests a second of one replica.
const TARGET: f64 = 100.0;
const TICK: Duration = Duration::from_secs(5);
/// Ticks of the quiet time.
const QUIET: u32 = 6;

fn rules(min: u32, max: u32) -> Rules {
    let quiet = TICK * QUIET;
    Rules { min, max, requests: Some(TARGET), sessions: None, response: None, quiet }
}

/// A reading of a cluster whose replicas all serve.
fn of(requests: f64, replicas: u32) -> Reading {
    Reading { requests, serving: replicas, known: replicas, is_whole: true, ..Reading::default() }
}

/// What a model's tick brings.
#[derive(Debug, Clone, Copy)]
struct Tick {
    load: f64,
    is_whole: bool,
    does_command_work: bool,
}

impl Tick {
    fn of(load: f64) -> Self {
        Self { load, is_whole: true, does_command_work: true }
    }
}

/// A cluster in which replicas take some ticks to come, and some to go, and the policy that scales it.
struct Model {
    policy: Policy,
    now: Duration,
    serving: u32,
    /// For how many ticks each replica is still to come.
    coming: Vec<u32>,
    /// The same of those that go.
    going: Vec<u32>,
    ticks_to_come: u32,
    ticks_to_go: u32,
}

impl Model {
    fn new(rules: Rules, serving: u32) -> Self {
        let (coming, going) = (Vec::new(), Vec::new());
        let policy = Policy::new(rules);
        let now = Duration::ZERO;
        Self { policy, now, serving, coming, going, ticks_to_come: 0, ticks_to_go: 0 }
    }

    fn reading(&self, tick: Tick) -> Reading {
        let draining = self.going.len() as u32;
        let known = self.serving + draining;
        let Tick { load: requests, is_whole, .. } = tick;
        let serving = self.serving;
        Reading { requests, serving, draining, known, is_whole, ..Reading::default() }
    }

    /// Returns how many there are, or will be.
    fn replicas(&self) -> u32 {
        self.serving + self.coming.len() as u32
    }

    fn tick(&mut self, tick: Tick) -> Option<Order> {
        let reading = self.reading(tick);
        let decision = self.policy.step(self.now, Some(&reading));
        let order = match decision {
            Decision::Order(order) => Some(order),
            Decision::Hold(_) => None,
        };
        if let Some(order) = order {
            self.policy.ended(self.now, tick.does_command_work);
            if tick.does_command_work {
                self.scale(order.replicas);
            }
        }
        for waiting in [&mut self.coming, &mut self.going] {
            waiting.iter_mut().for_each(|ticks| *ticks = ticks.saturating_sub(1));
        }
        let before = self.coming.len();
        self.coming.retain(|ticks| *ticks > 0);
        self.serving += (before - self.coming.len()) as u32;
        self.going.retain(|ticks| *ticks > 0);
        self.now += TICK;
        order
    }

    fn scale(&mut self, replicas: u32) {
        while self.replicas() < replicas {
            self.coming.push(self.ticks_to_come);
        }
        while self.replicas() > replicas {
            if self.coming.pop().is_none() {
                self.serving -= 1;
                self.going.push(self.ticks_to_go);
            }
        }
    }
}

fn loads() -> impl Strategy<Value = Vec<f64>> {
    // Loads last for some ticks, as those of a site do.
    let lasting = (0.0..1_500.0_f64, 1..20_usize).prop_map(|(load, ticks)| vec![load; ticks]);
    prop::collection::vec(lasting, 1..12).prop_map(|parts| parts.concat())
}

fn ticks() -> impl Strategy<Value = Vec<Tick>> {
    let flags = (prop::bool::weighted(0.95), prop::bool::weighted(0.9));
    (loads(), prop::collection::vec(flags, 240)).prop_map(|(loads, flags)| {
        let both = loads.into_iter().zip(flags);
        both.map(|(load, (is_whole, works))| Tick { load, is_whole, does_command_work: works })
            .collect()
    })
}

/// The fewest and the most replicas, and how many there are at first.
fn bounds() -> impl Strategy<Value = (u32, u32, u32)> {
    (1..6_u32, 0..12_u32)
        .prop_flat_map(|(min, more)| (Just(min), Just(min + more), min..=min + more))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// What every order keeps to, whatever the load, the balancers' silence, failing commands, and slow replicas.
    #[test]
    fn orders_stay_within_bounds_and_shrink_only_in_quiet(
        (min, max, first) in bounds(),
        ticks in ticks(),
        (to_come, to_go) in (0..8_u32, 0..8_u32),
    ) {
        let rules = rules(min, max);
        let mut model = Model::new(rules.clone(), first);
        (model.ticks_to_come, model.ticks_to_go) = (to_come, to_go);
        let mut past: Vec<(Duration, Reading, bool)> = Vec::new();
        for tick in ticks {
            let (now, reading) = (model.now, model.reading(tick));
            let order = model.tick(tick);
            past.push((now, reading, order.is_some()));
            let Some(order) = order else { continue };
            prop_assert!((min..=max).contains(&order.replicas), "{order:?}");
            if order.replicas >= order.from {
                continue;
            }
            prop_assert_eq!(order.replicas, order.from - 1);
            let quiet: Vec<_> = past.iter().filter(|(then, ..)| now - *then < rules.quiet).collect();
            prop_assert!(now >= rules.quiet);
            for (then, reading, has_ordered) in quiet {
                prop_assert!(reading.is_whole, "a balancer was silent");
                prop_assert!(rules.wanted(reading, 1.0) <= order.replicas, "{reading:?}");
                prop_assert!(*then == now || !has_ordered, "two orders within the quiet time");
            }
            // Even if it takes one that serves, those that are left suffice.
            prop_assert!(reading.draining == 0 && reading.serving > rules.wanted(&reading, 1.0));
        }
    }

    /// More load never means fewer replicas.
    #[test]
    fn replicas_are_monotone_in_load(
        (min, max, first) in bounds(),
        loads in prop::collection::vec((0.0..1_500.0_f64, 0.0..500.0_f64), 1..200),
    ) {
        let mut lower = Model::new(rules(min, max), first);
        let mut higher = Model::new(rules(min, max), first);
        for (load, more) in loads {
            lower.tick(Tick::of(load));
            higher.tick(Tick::of(load + more));
            prop_assert!(lower.replicas() <= higher.replicas());
        }
    }

    /// A load that stays about the same ends in a number of replicas that stays.
    #[test]
    fn steady_load_converges_and_does_not_flap(
        (min, max, first) in bounds(),
        load in 0.0..1_500.0_f64,
        trembles in prop::collection::vec(0.97..1.03_f64, QUIET as usize * 20),
        to_come in 0..4_u32,
    ) {
        let rules = rules(min, max);
        let mut model = Model::new(rules.clone(), first);
        model.ticks_to_come = to_come;
        let mut last_down = None;
        for (nth, trembling) in trembles.iter().enumerate() {
            if let Some(order) = model.tick(Tick::of(load * trembling)) {
                prop_assert!(order.why == Why::Down || last_down.is_none(), "up after {last_down:?}");
                last_down = Some(nth).filter(|_| order.why == Why::Down).or(last_down);
            }
        }
        // The quiet times that there were suffice for every step down.
        let replicas = model.replicas();
        prop_assert!(replicas >= rules.wanted(&of(load * 0.97, replicas), 1.0));
        prop_assert!(replicas <= rules.wanted(&of(load * 1.03, replicas), SPARE), "{replicas}");
    }

    /// Numbers that make no sense make no orders that make none.
    #[test]
    fn any_numbers_give_orders_within_bounds(
        requests in prop::num::f64::ANY,
        sessions in prop::num::f64::ANY,
        response in prop::option::of(prop::num::f64::ANY),
        serving in 0..40_u32,
    ) {
        let all = Rules { sessions: Some(10.0), response: Some(0.1), ..rules(2, 8) };
        let reading = Reading { requests, sessions, response, ..of(0.0, serving) };
        prop_assert!((2..=8).contains(&all.wanted(&reading, SPARE)));
    }
}

/// Returns the order, or the reason for none.
fn order(decision: Decision) -> Result<(u32, Why), Hold> {
    match decision {
        Decision::Order(order) => Ok((order.replicas, order.why)),
        Decision::Hold(hold) => Err(hold),
    }
}

#[test]
fn the_limit_that_needs_most_replicas_counts() {
    let all = Rules { sessions: Some(10.0), response: Some(0.1), ..rules(1, 20) };
    let wanted = |reading: Reading| all.wanted(&reading, 1.0);
    let low = Reading { requests: 90.0, sessions: 9.0, response: Some(0.01), ..of(0.0, 3) };
    assert_eq!(wanted(low), 1);
    assert_eq!(wanted(Reading { requests: 401.0, ..low }), 5);
    assert_eq!(wanted(Reading { sessions: 61.0, ..low }), 7);
    assert_eq!(wanted(Reading { response: Some(0.15), ..low }), 5);
    // Not a hundred times as many.
    assert_eq!(wanted(Reading { response: Some(10.0), ..low }), 6);
    assert_eq!(wanted(Reading { response: None, ..low }), 1);
}

#[test]
fn nothing_is_ordered_before_a_replica_was_seen() {
    let mut policy = Policy::new(rules(2, 8));
    let mut step =
        |nth: u32, reading: Option<Reading>| order(policy.step(TICK * nth, reading.as_ref()));
    assert_eq!(step(0, None), Err(Hold::Blind));
    assert_eq!(step(1, Some(Reading { is_whole: false, ..of(900.0, 3) })), Err(Hold::Blind));
    assert_eq!(step(2, Some(of(900.0, 0))), Err(Hold::Blind));
    assert_eq!(step(3, Some(of(350.0, 3))), Ok((4, Why::Up)));
}

#[test]
fn what_is_not_seen_for_a_moment_is_not_taken_away() {
    let mut policy = Policy::new(rules(1, 8));
    assert_eq!(order(policy.step(TICK, Some(&of(500.0, 5)))), Err(Hold::Enough));
    // The balancer has been started again, and has found one replica so far: an order of 2 would stop three.
    let partly = Reading { is_whole: false, ..of(150.0, 1) };
    assert_eq!(order(policy.step(TICK * 2, Some(&partly))), Err(Hold::Enough));
    let more = Reading { requests: 501.0, ..partly };
    assert_eq!(order(policy.step(TICK * 3, Some(&more))), Ok((6, Why::Up)));
}

#[test]
fn cluster_that_is_too_small_or_too_large_is_corrected() {
    let mut policy = Policy::new(rules(2, 4));
    assert_eq!(order(policy.step(TICK, Some(&of(0.0, 1)))), Ok((2, Why::Up)));
    // It was made larger by hand: it is made smaller step by step all the same.
    let mut policy = Policy::new(rules(2, 4));
    let mut orders = Vec::new();
    let mut replicas = 6;
    for nth in 1..=QUIET * 6 {
        if let Ok((ordered, Why::Down)) = order(policy.step(TICK * nth, Some(&of(0.0, replicas)))) {
            orders.push(ordered);
            policy.ended(TICK * nth, true);
            replicas = ordered;
        }
    }
    assert_eq!(orders, [5, 4, 3, 2]);
}

#[test]
fn replicas_that_do_not_come_are_asked_for_again() {
    let mut policy = Policy::new(rules(1, 8));
    let mut again = Vec::new();
    let due = (AGAIN_AFTER.as_secs() / TICK.as_secs()) as u32;
    for nth in 1..=2 * due + 1 {
        match order(policy.step(TICK * nth, Some(&of(350.0, 3)))) {
            Ok(ordered) => {
                again.push((nth, ordered));
                policy.ended(TICK * nth, true);
            }
            Err(hold) => assert_eq!(hold, Hold::Enough),
        }
    }
    assert_eq!(
        again,
        [(1, (4, Why::Up)), (1 + due, (4, Why::Again)), (1 + 2 * due, (4, Why::Again))]
    );
    // Those who are there by then are more than were asked for: an order of 4 would stop one.
    let five = Reading { known: 5, ..of(350.0, 3) };
    assert_eq!(order(policy.step(TICK * 100, Some(&five))), Err(Hold::Quiet));
}

#[test]
fn missing_or_leaving_replicas_keep_the_others() {
    for (reading, hold) in [
        (Reading { serving: 3, draining: 1, ..of(250.0, 4) }, Hold::Draining),
        (Reading { serving: 3, ..of(250.0, 4) }, Hold::Missing),
    ] {
        let mut policy = Policy::new(rules(1, 8));
        for nth in 1..=QUIET {
            assert_eq!(order(policy.step(TICK * nth, Some(&reading))), Err(Hold::Quiet));
        }
        assert_eq!(order(policy.step(TICK * (QUIET + 1), Some(&reading))), Err(hold));
        // They are back.
        let reading = of(250.0, 4);
        assert_eq!(order(policy.step(TICK * (QUIET + 2), Some(&reading))), Ok((3, Why::Down)));
    }
}

#[test]
fn pauses_grow_while_the_command_fails() {
    let mut policy = Policy::new(rules(1, 8));
    let mut pauses = Vec::new();
    let mut now = Duration::ZERO;
    for _ in 0..8 {
        assert_eq!(order(policy.step(now, Some(&of(350.0, 3)))), Ok((4, Why::Up)));
        assert_eq!(order(policy.step(now, Some(&of(950.0, 3)))), Err(Hold::Acting));
        let pause = policy.ended(now, false).expect("it has failed");
        pauses.push(pause.as_secs());
        let early = now + pause - Duration::from_millis(1);
        assert_eq!(order(policy.step(early, Some(&of(350.0, 3)))), Err(Hold::BackingOff));
        now += pause;
    }
    assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300, 300]);
    assert_eq!(order(policy.step(now, Some(&of(350.0, 3)))), Ok((4, Why::Up)));
    assert_eq!(policy.ended(now, true), None);
    // The next failure is a first one again.
    assert_eq!(order(policy.step(now, Some(&of(450.0, 4)))), Ok((5, Why::Up)));
    assert_eq!(policy.ended(now, false), Some(BACK_OFF));
}

#[test]
fn replicas_that_were_down_at_the_start_are_asked_for() {
    let mut policy = Policy::new(rules(1, 8));
    let reading = Reading { serving: 1, ..of(250.0, 3) };
    assert_eq!(order(policy.step(TICK, Some(&reading))), Err(Hold::Enough));
    assert_eq!(order(policy.step(AGAIN_AFTER, Some(&reading))), Ok((3, Why::Again)));
}

#[test]
fn replicas_that_are_down_for_good_raise_no_bound() {
    let mut policy = Policy::new(rules(1, 8));
    let reading = Reading { serving: 4, ..of(0.0, 24) };
    let mut step = |nth| order(policy.step(TICK * nth, Some(&reading)));
    assert_eq!(step(1), Err(Hold::Quiet));
    assert_eq!(step(1 + QUIET), Ok((8, Why::Down)));
}

#[test]
fn load_that_returns_while_one_leaves_is_served_at_once() {
    for leaving in [
        Reading { serving: 3, draining: 1, ..of(390.0, 4) },
        Reading { serving: 3, ..of(390.0, 4) },
    ] {
        let mut policy = Policy::new(rules(1, 8));
        assert_eq!(order(policy.step(TICK, Some(&of(50.0, 4)))), Err(Hold::Quiet));
        assert_eq!(order(policy.step(TICK * (1 + QUIET), Some(&of(50.0, 4)))), Ok((3, Why::Down)));
        policy.ended(TICK * (1 + QUIET), true);
        assert_eq!(order(policy.step(TICK * (2 + QUIET), Some(&leaving))), Ok((4, Why::Up)));
    }
}
