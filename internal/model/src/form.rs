//! The fields of an ad that a client can set, the rules that they keep by themselves and together, and the merge patch
//! of them. The rules of a single field are `validator`'s; `fields` reads the types.

use serde_json::{Map, Value, json};
use uuid::Uuid;
use validator::{Validate, ValidationError};

use crate::delivery::is_a_link;
use crate::dimensions::Drafts;
use crate::limits::{
    CONTENT_CHARS_MAX, CONTENT_CHARS_MIN, TITLE_CHARS_MAX, TITLE_CHARS_MIN, WEIGHT_DEFAULT,
};
use crate::{Delivery, Spec, Timestamp, Violation};

/// A JSON merge patch (RFC 7396) of an ad, with its types and single-field rules already checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    pub(crate) form: Form,
    /// The fields that were given, null included.
    pub(crate) given: Vec<&'static str>,
}

/// The fields that a client can set, each as far as it was given and of the right type.
#[derive(Debug, Clone, Default, PartialEq, Eq, Validate)]
pub(crate) struct Form {
    #[validate(
        length(min = TITLE_CHARS_MIN, max = TITLE_CHARS_MAX, message = "must have 5 to 100 characters"),
        custom(function = one_line),
        custom(function = not_blank)
    )]
    pub(crate) title: Option<String>,
    #[validate(
        length(min = CONTENT_CHARS_MIN, max = CONTENT_CHARS_MAX, message = "must have 1 to 10,000 characters"),
        custom(function = plain_text),
        custom(function = not_blank)
    )]
    pub(crate) content: Option<String>,
    pub(crate) start_at: Option<Timestamp>,
    pub(crate) end_at: Option<Timestamp>,
    pub(crate) pool: Option<Uuid>,
    pub(crate) weight: Option<u32>,
    #[validate(custom(function = is_a_link))]
    pub(crate) link: Option<String>,
    pub(crate) paused: Option<bool>,
    pub(crate) conditions: Drafts,
}

pub(crate) fn one_line(text: &str) -> Result<(), ValidationError> {
    refuse_characters(text, is_control, "must not contain control characters")
}

fn plain_text(text: &str) -> Result<(), ValidationError> {
    let refused = |c: char| is_control(c) && !matches!(c, '\n' | '\r' | '\t');
    refuse_characters(
        text,
        refused,
        "must not contain control characters other than line ends and tabs",
    )
}

/// Returns true for Unicode's control characters, and for characters that control a text without being among them: the
/// separators of lines and paragraphs, and the embeddings and overrides of its direction (U+2028 to U+202E).
fn is_control(c: char) -> bool {
    c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c)
}

/// Refuses white space alone, which shows a visitor nothing. An empty text passes here: the check of the length refuses
/// it.
pub(crate) fn not_blank(text: &str) -> Result<(), ValidationError> {
    if !text.is_empty() && text.chars().all(char::is_whitespace) {
        let blank = ValidationError::new("blank");
        return Err(blank.with_message("must not be white space alone".into()));
    }
    Ok(())
}

fn refuse_characters(
    text: &str,
    refused: fn(char) -> bool,
    message: &'static str,
) -> Result<(), ValidationError> {
    if text.contains(refused) {
        return Err(ValidationError::new("characters").with_message(message.into()));
    }
    Ok(())
}

impl Patch {
    /// Returns what `current` becomes: a field that was given replaces it, null opens it, the others stay.
    ///
    /// # Errors
    /// Every field of the result that breaks a rule.
    pub fn merged(&self, current: &Spec) -> Result<Spec, Vec<Violation>> {
        let mut form = Form::of(current);
        let patch = self.form.clone();
        for name in &self.given {
            match *name {
                "title" => form.title.clone_from(&patch.title),
                "content" => form.content.clone_from(&patch.content),
                "start_at" => form.start_at = patch.start_at,
                "end_at" => form.end_at = patch.end_at,
                "pool" => form.pool = patch.pool,
                "weight" => form.weight = patch.weight,
                "link" => form.link.clone_from(&patch.link),
                "paused" => form.paused = patch.paused,
                condition => form.conditions.patch(&patch.conditions, condition),
            }
        }
        let mut violations = Vec::new();
        form.finish(&mut violations).filter(|_| violations.is_empty()).ok_or(violations)
    }

    /// Returns the pool that the ad is to name from now on, if it is to name another.
    pub(crate) fn pool(&self) -> Option<Uuid> {
        self.form.pool
    }

    /// Returns true if it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// Returns the fields that were given, in one canonical form however they were sent.
    pub fn to_json(&self) -> Value {
        let Form { title, content, start_at, end_at, pool, weight, link, paused, conditions } =
            &self.form;
        let stamp = |stamp: &Option<Timestamp>| json!(stamp.map(|stamp| stamp.to_string()));
        let value = |name: &str| match name {
            "title" => json!(title),
            "content" => json!(content),
            "start_at" => stamp(start_at),
            "end_at" => stamp(end_at),
            "pool" => json!(pool.map(|pool| pool.to_string())),
            "weight" => json!(weight),
            "link" => json!(link),
            "paused" => json!(paused),
            condition => json!(conditions.to_json(condition)),
        };
        let fields = self.given.iter().map(|name| ((*name).to_owned(), value(name)));
        fields.collect::<Map<_, _>>().into()
    }

    /// Bytes that the patch holds, about.
    pub fn bytes(&self) -> usize {
        let text = |field: &Option<String>| field.as_ref().map_or(0, String::len);
        size_of::<Self>()
            + text(&self.form.title)
            + text(&self.form.content)
            + text(&self.form.link)
    }
}

impl Form {
    fn of(spec: &Spec) -> Self {
        Self {
            title: Some(spec.title.clone()),
            content: Some(spec.content.clone()),
            start_at: Some(spec.start_at),
            end_at: Some(spec.end_at),
            pool: spec.delivery.pool,
            weight: Some(spec.delivery.weight),
            link: spec.delivery.link.clone(),
            paused: Some(spec.delivery.paused),
            conditions: Drafts::of(&spec.targeting),
        }
    }

    /// Checks the rules that concern the ad as a whole. A field that is already in `violations` is not reported again.
    pub(crate) fn finish(self, violations: &mut Vec<Violation>) -> Option<Spec> {
        let mut broken = Vec::new();
        for (name, missing) in [
            ("title", self.title.is_none()),
            ("content", self.content.is_none()),
            ("start_at", self.start_at.is_none()),
            ("end_at", self.end_at.is_none()),
        ] {
            if missing {
                broken.push(Violation::field(name, "is required"));
            }
        }
        if let (Some(start), Some(end)) = (self.start_at, self.end_at)
            && start >= end
        {
            broken.push(Violation::field("end_at", "must be after start_at"));
        }
        let targeting = self.conditions.finish(&mut broken);
        broken.retain(|new| violations.iter().all(|old| old.place != new.place));
        violations.append(&mut broken);
        let (start_at, end_at) = (self.start_at?, self.end_at?);
        let delivery = Delivery {
            pool: self.pool,
            weight: self.weight.unwrap_or(WEIGHT_DEFAULT),
            link: self.link,
            paused: self.paused.unwrap_or_default(),
        };
        let (title, content) = (self.title?, self.content?);
        Some(Spec { title, content, start_at, end_at, targeting, delivery })
    }
}
