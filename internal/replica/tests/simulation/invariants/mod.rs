//! What must always be true, one file each; the world calls them where they may be broken.

pub(crate) mod all_confirmed_is_shown;
pub(crate) mod all_is_equal_in_the_end;
pub(crate) mod equal_versions_are_equal_states;
pub(crate) mod no_write_is_lost_doubled_or_misreported;
pub(crate) mod reads_are_as_fresh_as_they_say;
