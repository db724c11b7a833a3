//! A replica shows what the log says at that version, of the history that it is in, pools and holds included.

use placard_model::entry::Position;

use crate::world::{Replica, World};

/// At versions that are a multiple of this, pools and holds are compared one by one, and not only by their digest.
const COMPARED: u64 = 8;

pub(crate) fn check(world: &World, replica: &Replica, position: Position) {
    let reader = replica.core.reader();
    assert!(reader.published().version >= position.version);
    if position != Position::START {
        let row = world.rows.get(&position.chain).expect("it was committed");
        assert_eq!((row.version, row.digest), (position.version, position.digest));
        if reader.published() == position && position.version.is_multiple_of(COMPARED) {
            reader.books(|books| assert!(*books == row.books, "{books:?} are not {:?}", row.books));
        }
    }
}
