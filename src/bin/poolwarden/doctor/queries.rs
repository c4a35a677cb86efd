//! The queries for each kind of database.

/// The queries for one kind of connection.
pub(super) struct Queries<C> {
    /// Returns `true` if the server answers; one round trip.
    pub(super) ping: fn(&mut C) -> bool,
    /// Returns the identifier of the server session.
    pub(super) session: fn(&mut C) -> Option<String>,
    /// Returns the number of sessions for each user and state, as far as visible to this role.
    pub(super) holders: fn(&mut C) -> Vec<(String, u32)>,
}
