//! Drivers that can be created from settings.

use super::driver::Driver;
use crate::config::settings::Settings;
use crate::error::Error;

/// A driver that can be created from [`Settings`].
pub trait FromSettings: Driver + Sized {
    /// Creates the driver. The settings' options become the defaults of its pools.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config): the settings are for another system, name
    /// no host, or contradict each other.
    fn from_settings(settings: &Settings) -> Result<Self, Error>;
}
