//! Errors of the layers above and beside, kept by events and exits of processes.
//!
//! Invariant: an error is shared, never changed.

use std::{error::Error, fmt, sync::Arc};

/// An error of somebody else, such as TLS or a resolver. Cheap to clone.
///
/// # Examples
///
/// ```
/// use netproc_core::shared_error::SharedError;
///
/// let error = SharedError::new("a damaged record");
/// assert_eq!(error, error.clone());
/// assert_eq!(error.to_string(), "a damaged record");
/// ```
#[derive(Clone, Debug)]
pub struct SharedError(Arc<dyn Error + Send + Sync>);

impl SharedError {
    /// Wraps an error.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(error.into().into())
    }

    /// The error itself, if it is of that type.
    #[must_use]
    pub fn downcast<T: Error + 'static>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

/// Equal when they read the same.
impl PartialEq for SharedError {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Error for SharedError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}
