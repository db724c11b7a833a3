//! The visitor's platform.

use super::choice::Choice;
use super::values::values;

values! {
    /// What the visitor's page runs on.
    Platform,
    /// A set of platforms; empty in a targeting means any.
    PlatformSet {
        /// Android.
        Android = "android",
        /// iOS.
        Ios = "ios",
        /// A browser.
        Web = "web",
    }
}

impl Choice for Platform {
    const NAME: &'static str = "platform";
    const TAG: &'static [u32; 1] = &[11];
    const RULE: &'static str = "must be android, ios or web";
    const RULE_ASKED: &'static str = "must be android, ios, web or unknown";
    const SCHEMA: &'static str = "Platform";
    const DESCRIPTION: &'static str = "A platform.";
    const ASKED: &'static str = "The visitor's platform.";
    const TARGETED: &'static str = "Platforms that it is for.";
    const EXAMPLES: &'static [&'static str] = &["ios"];
}
