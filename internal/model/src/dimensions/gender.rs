//! The visitor's gender.

use super::choice::Choice;
use super::values::values;

values! {
    /// A visitor's gender.
    Gender,
    /// A set of genders; empty in a targeting means any.
    GenderSet {
        /// Male.
        Male = "M",
        /// Female.
        Female = "F",
    }
}

impl Choice for Gender {
    const NAME: &'static str = "gender";
    const TAG: &'static [u32; 1] = &[10];
    const RULE: &'static str = "must be M or F";
    const RULE_ASKED: &'static str = "must be M, F or unknown";
    const SCHEMA: &'static str = "Gender";
    const DESCRIPTION: &'static str = "A gender.";
    const ASKED: &'static str = "The visitor's gender.";
    const TARGETED: &'static str = "Genders that it is for.";
    const EXAMPLES: &'static [&'static str] = &["F"];
}
