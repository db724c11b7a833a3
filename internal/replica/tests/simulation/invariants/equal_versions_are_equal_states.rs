//! A replica shows what the log says at that version, of the history that it is in.

use placard_model::entry::Position;

use crate::world::{Replica, World};

pub(crate) fn check(world: &World, replica: &Replica, position: Position) {
    assert!(replica.core.reader().published().version >= position.version);
    if position != Position::START {
        let row = world.rows.get(&position.chain).expect("it was committed");
        assert_eq!((row.version, row.digest), (position.version, position.digest));
    }
}
