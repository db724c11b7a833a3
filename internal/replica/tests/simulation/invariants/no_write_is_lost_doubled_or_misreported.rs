//! The clients' answers and the journal agree.

use std::collections::{BTreeMap, BTreeSet};

use crate::world::World;

pub(crate) fn check(world: &World) {
    for (nth, row) in (1..).zip(&world.journal.log) {
        assert_eq!(row.record.version, nth, "versions are gapless");
        assert!(
            !world.unwritten.contains(&row.request),
            "{} was said to be unwritten",
            row.request
        );
    }
    let mut seen = BTreeSet::new();
    let doubled = world.journal.log.iter().find(|row| !seen.insert((row.request, row.item)));
    assert_eq!(doubled, None);
    // Clients still stop asking at the end of the faults, with every answer in.
    assert!(world.tickets.is_empty(), "{} clients wait for ever", world.tickets.len());
    let told = |id| world.clients.iter().any(|client| client.owns(id) && !client.lost);
    let scan = world.scan();
    let titles = scan.ads().filter(|ad| told(ad.id)).map(|ad| (ad.id, ad.spec.title.clone()));
    let clients = world.clients.iter().filter(|client| !client.lost);
    let expected: BTreeMap<_, _> = clients.flat_map(|client| client.ads.clone()).collect();
    assert_eq!(titles.collect::<BTreeMap<_, _>>(), expected);
}
