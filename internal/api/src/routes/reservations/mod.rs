//! Reservations: their paths, and a file for each verb.

pub(super) mod change;
pub(super) mod create;
pub(super) mod release;
mod reservation;
pub(super) mod show;

pub(super) use reservation::shown_fields as hold_fields;

/// The path of the reservations.
pub(super) const RESERVATIONS_PATH: &str = "/api/v1/reservation";
/// The path of one reservation.
pub(super) const RESERVATION_PATH: &str = "/api/v1/reservation/{id}";
