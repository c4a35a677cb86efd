//! The parameters that the server reports, and which of them differ from a clean session.

use super::text_field::split_text;
use std::collections::HashMap;

/// One reported parameter.
#[derive(Debug)]
struct Parameter {
    now: Box<[u8]>,
    /// Its value when the session was clean; `None` if it was not reported until then.
    clean: Option<Box<[u8]>>,
}

impl Parameter {
    fn differs(&self) -> bool {
        self.clean.as_deref() != Some(&*self.now)
    }
}

/// The parameters of one session.
///
/// PostgreSQL documentation, "Asynchronous Operations": the server reports a value whenever
/// it changes, whatever changed it; SET LOCAL is reported as well, and so is its end.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    reported: HashMap<Box<[u8]>, Parameter>,
    /// Law: the number of those that differ.
    differing: usize,
}

impl Parameters {
    /// Records the body of a ParameterStatus: a name and a value, each ended by a zero byte.
    pub(super) fn report(&mut self, body: &[u8]) {
        let (name, rest) = split_text(body);
        let now: Box<[u8]> = split_text(rest).0.into();
        match self.reported.get_mut(name) {
            Some(parameter) => {
                self.differing -= usize::from(parameter.differs());
                parameter.now = now;
                self.differing += usize::from(parameter.differs());
            }
            None => {
                self.reported.insert(name.into(), Parameter { now, clean: None });
                self.differing += 1;
            }
        }
    }

    /// Records that all have the values of a clean session.
    pub(super) fn mark_clean(&mut self) {
        if self.differing > 0 {
            for parameter in self.reported.values_mut().filter(|parameter| parameter.differs()) {
                parameter.clean = Some(parameter.now.clone());
            }
            self.differing = 0;
        }
    }

    pub(super) fn differ(&self) -> bool {
        self.differing > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_differs_until_it_is_as_before_or_marked_clean() {
        let mut parameters = Parameters::default();
        parameters.report(b"TimeZone\0UTC\0");
        parameters.report(b"client_encoding\0UTF8\0");
        assert!(parameters.differ(), "what is new differs");
        parameters.mark_clean();
        assert!(!parameters.differ());
        parameters.report(b"TimeZone\0Asia/Tokyo\0");
        parameters.report(b"client_encoding\0LATIN1\0");
        parameters.report(b"TimeZone\0UTC\0");
        assert!(parameters.differ());
        parameters.report(b"client_encoding\0UTF8\0");
        assert!(!parameters.differ());
        parameters.report(b"");
        parameters.mark_clean();
        assert!(!parameters.differ());
    }
}
