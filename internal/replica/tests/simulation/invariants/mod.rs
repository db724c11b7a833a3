//! What must always be true, one file each; the world calls them where they may be broken.

pub(crate) mod all_confirmed_is_shown;
pub(crate) mod all_is_equal_in_the_end;
pub(crate) mod books_add_up;
pub(crate) mod equal_versions_are_equal_states;
pub(crate) mod lapsed_units_are_available;
pub(crate) mod model_decides_alike;
pub(crate) mod no_write_is_lost_doubled_or_misreported;
pub(crate) mod old_builds_hold_nothing_up;
pub(crate) mod reads_are_as_fresh_as_they_say;
pub(crate) mod records_are_in_the_digest;
pub(crate) mod reservations_are_given_once;
pub(crate) mod used_is_what_was_closed;
