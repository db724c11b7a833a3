//! The preconditions of a request, which name versions of the object that it concerns.

use crate::Version;

/// Entity tags that a precondition lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tags {
    /// That of any object.
    Any,
    /// Those of these versions.
    Versions(Vec<Version>),
}

impl Tags {
    /// Returns true if the tag of an object at this version is among them.
    pub fn name(&self, version: Version) -> bool {
        match self {
            Self::Any => true,
            Self::Versions(versions) => versions.contains(&version),
        }
    }
}

/// The preconditions of a request for one object (RFC 9110, section 13).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// `If-Match`: the object is there, and its tag is listed.
    pub if_match: Option<Tags>,
    /// `If-None-Match`: the object is not there, or its tag is not listed.
    pub if_none_match: Option<Tags>,
}

impl Conditions {
    /// `If-Match` with the tags of these versions.
    pub fn at(versions: impl Into<Vec<Version>>) -> Self {
        Self { if_match: Some(Tags::Versions(versions.into())), if_none_match: None }
    }

    /// Returns true if there is no precondition.
    pub fn is_empty(&self) -> bool {
        self.if_match.is_none() && self.if_none_match.is_none()
    }

    /// Returns true if they hold for an object at this version, or for a missing one if it is `None`.
    pub fn hold(&self, version: Option<Version>) -> bool {
        let name = |tags: &Tags| version.is_some_and(|version| tags.name(version));
        self.if_match.as_ref().is_none_or(name) && !self.if_none_match.as_ref().is_some_and(name)
    }

    /// Returns all of them in one canonical form, however they were sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for tags in [&self.if_match, &self.if_none_match] {
            match tags {
                None => bytes.push(0),
                Some(Tags::Any) => bytes.push(1),
                Some(Tags::Versions(versions)) => {
                    let mut versions = versions.clone();
                    versions.sort_unstable();
                    versions.dedup();
                    bytes.push(2);
                    bytes.extend((versions.len() as u64).to_be_bytes());
                    bytes.extend(versions.iter().flat_map(|version| version.to_be_bytes()));
                }
            }
        }
        bytes
    }

    /// Bytes that they hold, about.
    pub(crate) fn bytes(&self) -> usize {
        let tags = [&self.if_match, &self.if_none_match].into_iter().flatten();
        tags.map(|tags| match tags {
            Tags::Any => 0,
            Tags::Versions(versions) => versions.len() * size_of::<Version>(),
        })
        .sum()
    }
}
