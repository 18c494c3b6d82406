//! Functions as values: what the dynamic front is given for filters, sentinels and logs.
//!
//! Invariant: a contact holds the functions that are its process's callbacks weakly, the process strongly and only
//! until the last event; so a closure that keeps its own process is no cycle once the process has ended.

use std::{
    any::Any,
    fmt,
    rc::{Rc, Weak},
};

use netproc_core::{plist::Value, value::Object};

use super::Signal;

type Call = dyn Fn(&[Value]) -> Result<Value, Signal>;

struct Inner {
    name: Option<String>,
    call: Box<Call>,
}

/// A function of the caller's Lisp, called with values.
///
/// Equal when it is the same function; a clone is the same one.
///
/// # Examples
///
/// ```
/// use netproc::{Value, emacs::Function};
///
/// let last = Function::new(|args| Ok(args.last().cloned().unwrap_or_default()));
/// assert_eq!(last.call(&[1.into(), 2.into()]), Ok(Value::from(2)));
/// assert_eq!(last, last.clone());
/// ```
#[derive(Clone)]
pub struct Function {
    /// Keeps it alive, and is asked for nothing else.
    _strong: Option<Rc<Inner>>,
    weak: Weak<Inner>,
}

impl Function {
    /// A function without a name.
    pub fn new(call: impl Fn(&[Value]) -> Result<Value, Signal> + 'static) -> Self {
        Self::from_inner(Inner { name: None, call: Box::new(call) })
    }

    /// A function that shows itself as the symbol `name`.
    pub fn named(name: &str, call: impl Fn(&[Value]) -> Result<Value, Signal> + 'static) -> Self {
        Self::from_inner(Inner { name: Some(name.into()), call: Box::new(call) })
    }

    fn from_inner(inner: Inner) -> Self {
        let strong = Rc::new(inner);
        Self { weak: Rc::downgrade(&strong), _strong: Some(strong) }
    }

    /// The same function, kept alive by others only.
    #[must_use]
    pub fn weak(&self) -> Self {
        Self { _strong: None, weak: self.weak.clone() }
    }

    /// The same function, kept alive by this value; `None` when it is gone.
    #[must_use]
    pub fn upgrade(&self) -> Option<Self> {
        Some(Self { _strong: Some(self.weak.upgrade()?), weak: self.weak.clone() })
    }

    /// Calls it.
    ///
    /// # Errors
    ///
    /// What the function signals; `void-function` when it is gone.
    pub fn call(&self, args: &[Value]) -> Result<Value, Signal> {
        match self.weak.upgrade() {
            Some(inner) => (inner.call)(args),
            None => Err(Signal::new("void-function", vec![Value::object(self.clone())])),
        }
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.weak.ptr_eq(&other.weak)
    }
}

impl Eq for Function {}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.print(f)
    }
}

impl Object for Function {
    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.weak.upgrade().as_ref().and_then(|inner| inner.name.as_deref()) {
            Some(name) => f.write_str(name),
            None => f.write_str("#<function>"),
        }
    }

    fn is_same(&self, other: &dyn Any) -> bool {
        other.downcast_ref::<Self>().is_some_and(|other| self == other)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl From<Function> for Value {
    fn from(function: Function) -> Self {
        Self::object(function)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weak_function_goes_with_its_last_owner_and_stays_the_same() {
        let function = Function::named("ignore", |_| Ok(Value::Nil));
        let weak = function.weak();
        assert_eq!(weak, function);
        assert_eq!(Value::from(weak.clone()).to_string(), "ignore");
        assert_eq!(weak.call(&[]), Ok(Value::Nil));
        drop(function);
        assert!(weak.upgrade().is_none());
        assert_eq!(weak.call(&[]).unwrap_err().symbol(), "void-function");
        assert_eq!(weak, weak.clone());
    }
}
