//! Foreign errors as this crate carries them.

use std::error::Error as StdError;
use std::sync::Arc;

/// A foreign error as this crate carries it.
pub type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// A foreign error that several callers share.
pub(crate) type SharedError = Arc<dyn StdError + Send + Sync + 'static>;
