//! The answers that handlers have in common, for the document.

use placard_model::limits::{ACK_ALL_WAIT, BODY_DEADLINE, WRITE_DEADLINE};

use crate::http::subject::Subject;
use crate::openapi::answers::{
    ACCEPT_ENCODING, ACCEPT_PATCH, Answer, RETRY_AFTER, VERSION, invalid, renamed, unauthorised,
};

/// A read that this replica cannot answer.
pub(super) fn not_to_be_read() -> Answer {
    let text = "This replica cannot answer now: it has no state yet, has not heard of the journal for too long, \
                or has not reached the version that is asked for.";
    Answer::problem(503, text).with(&[RETRY_AFTER, VERSION])
}

/// Why a write is answered with 202.
pub(super) const NOT_YET: &str = "It is written, but not served yet: by this replica, or with ack=all by those that receipts name.";

/// Why a request is answered with 412.
pub(super) fn unmet(subject: Subject) -> String {
    let noun = subject.noun();
    format!(
        "The {noun}'s version, or that there is no {noun} with this id, is not what If-Match and If-None-Match ask for."
    )
}

/// A write whose body is refused.
pub(super) fn refused_body(bytes_max: usize, media: &str) -> Vec<Answer> {
    let seconds = BODY_DEADLINE.as_secs();
    vec![
        Answer::problem(408, format!("The body did not arrive within {seconds} s.")),
        Answer::problem(413, format!("The body exceeds {bytes_max} bytes.")),
        Answer::problem(
            415,
            format!(
                "The Content-Type is not {media} in UTF-8, or the body has a Content-Encoding."
            ),
        )
        .with(if media.contains("patch") {
            &[ACCEPT_ENCODING, ACCEPT_PATCH][..]
        } else {
            &[ACCEPT_ENCODING]
        }),
    ]
}

/// A write that is refused for another reason than its body.
pub(super) fn refused_write() -> Vec<Answer> {
    let (waits, all) = (WRITE_DEADLINE.as_secs(), ACK_ALL_WAIT.as_secs());
    vec![
        invalid(),
        unauthorised(),
        renamed(),
        Answer::problem(422, "The Idempotency-Key was used before, for another request.")
            .with(&[VERSION]),
        Answer::problem(
            503,
            "Nothing was written: too many writes wait, the journal takes none, or a replica of the cluster is of a build \
             that could not read it (not-yet): no pools, and nothing of how ads are delivered, until it is gone.",
        )
        .with(&[RETRY_AFTER, VERSION]),
        Answer::problem(
            504,
            format!(
                "The write may or may not have happened; repeat it with the same Idempotency-Key. Given after {waits} s, \
             or as soon as the journal is found to have lost a part of its history; \
             with ack=all the answer to a write that has happened may take {all} s more.",
            ),
        ),
    ]
}

/// A write that the journal refuses.
pub(super) fn failed() -> Answer {
    Answer::problem(500, "The journal refuses the write, whatever is tried; nothing was written.")
}
