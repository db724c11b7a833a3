//! Takes the fields of one JSON object by name, each of its type, and collects what is wrong with them.

use std::collections::BTreeMap;

use crate::given::Given;
use crate::limits::CONDITION_VALUES_MAX;
use crate::{Timestamp, Violation};

/// An array of a hundred thousand wrong values is answered with the first few.
const BROKEN_VALUES_SHOWN: usize = 16;

/// What is left of an object's fields, and what was wrong so far.
#[derive(Debug, Default)]
pub struct Reading {
    pub(crate) values: BTreeMap<&'static str, Given>,
    pub(crate) violations: Vec<Violation>,
}

impl Reading {
    /// Adds something that is wrong.
    pub(crate) fn refuse(&mut self, violation: Violation) {
        self.violations.push(violation);
    }

    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        self.field(name, "must be a string", Given::text)
    }

    pub(crate) fn stamp(&mut self, name: &str) -> Option<Timestamp> {
        let text = self.text(name)?;
        Timestamp::parse(&text)
            .map_err(|detail| self.violations.push(Violation::field(name, detail)))
            .ok()
    }

    pub(crate) fn field<T>(
        &mut self,
        name: &str,
        rule: &str,
        read: impl FnOnce(Given) -> Option<T>,
    ) -> Option<T> {
        match self.values.remove(name)? {
            Given::Null => None,
            value => {
                let read = read(value);
                if read.is_none() {
                    self.violations.push(Violation::field(name, rule));
                }
                read
            }
        }
    }

    pub(crate) fn set<T, S: FromIterator<T>>(
        &mut self,
        name: &str,
        rule: &str,
        read: fn(&str) -> Option<T>,
    ) -> S {
        let values = match self.values.remove(name) {
            None | Some(Given::Null) => Vec::new(),
            Some(Given::List(values)) => values,
            Some(Given::LongList) => {
                let detail = format!("must not have more than {CONDITION_VALUES_MAX} values");
                self.violations.push(Violation::field(name, detail));
                Vec::new()
            }
            Some(_) => {
                self.violations.push(Violation::field(name, "must be an array of strings"));
                Vec::new()
            }
        };
        let mut broken = Vec::new();
        let set = values
            .iter()
            .enumerate()
            .filter_map(|(at, value)| {
                let read = value.text().and_then(read);
                if read.is_none() && broken.len() < BROKEN_VALUES_SHOWN {
                    broken.push(Violation::pointer(format!("/{name}/{at}"), rule));
                }
                read
            })
            .collect();
        self.violations.append(&mut broken);
        set
    }
}
