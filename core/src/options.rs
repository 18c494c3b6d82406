//! Socket options: their Emacs keywords and typed values. Setting them is `socket.rs`'s work.

use std::fmt;

use crate::plist::Value;

/// The longest name of a network device: `IFNAMSIZ` less its closing NUL.
const DEVICE_LEN_MAX: usize = 15;
/// Seconds that `:linger t` stands for.
const LINGER_DEFAULT: u16 = 30;

/// Why a value does not fit a socket option.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptionError {
    /// Not a value of the right kind.
    #[error("bad option value for {option}: {value} is not {expected}")]
    Kind {
        /// The keyword.
        option: &'static str,
        /// What it wants.
        expected: &'static str,
        /// What was given, as Lisp prints it.
        value: String,
    },
    /// A number that the system's field cannot hold.
    #[error("bad option value for {option}: {value} is out of the range {min} to {max}")]
    Range {
        /// The keyword.
        option: &'static str,
        /// What was given.
        value: i64,
        /// The least it may be.
        min: i64,
        /// The most it may be.
        max: i64,
    },
    /// A device name longer than the system has any.
    #[error("bad option value for :bindtodevice: a name of {0} bytes is too long")]
    DeviceName(usize),
}

impl OptionError {
    /// What Emacs says: `Bad option value for :priority`.
    #[must_use]
    pub fn emacs_message(&self) -> String {
        let option = match self {
            Self::Kind { option, .. } | Self::Range { option, .. } => option,
            Self::DeviceName(_) => ":bindtodevice",
        };
        format!("Bad option value for {option}")
    }
}

/// One option of a socket, as typed value.
///
/// # Source
///
/// Emacs Lisp manual 28.2, "Network Options". Differs: `:linger t` lets queued bytes go out (Emacs's
/// resets the connection, the opposite of what its manual says); `NoDelay`, `RecvBuffer` and
/// `SendBuffer` are new. Theirs is socket(7).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum SockOption {
    /// `:bindtodevice`: use this interface only; `None` lifts that (`SO_BINDTODEVICE`, Linux).
    BindToDevice(Option<String>),
    /// `:broadcast`: packets may go to broadcast addresses (`SO_BROADCAST`).
    Broadcast(bool),
    /// `:dontroute`: only to hosts on a connected network (`SO_DONTROUTE`).
    DontRoute(bool),
    /// `:keepalive`: probe an idle connection (`SO_KEEPALIVE`).
    KeepAlive(bool),
    /// `:linger`: on deletion give queued bytes this many seconds; `Some(0)` resets, `None` gives
    /// them as long as `Limits::flush_within` says. Of `SO_LINGER` the system only ever hears of 0.
    Linger(Option<u16>),
    /// `:nodelay`: send small segments at once (`TCP_NODELAY`).
    NoDelay(bool),
    /// `:oobinline`: urgent bytes in line with the others (`SO_OOBINLINE`).
    OobInline(bool),
    /// `:priority`: of the packets sent (`SO_PRIORITY`, Linux).
    Priority(i32),
    /// `:recv-buffer-size`: bytes the system may keep of what has come and was not read, of each
    /// connection of a server too (`SO_RCVBUF`). Linux doubles it, for what it keeps besides, takes
    /// `net.core.rmem_max` at most, and then no longer fits it to the connection by itself.
    RecvBuffer(u32),
    /// `:reuseaddr`: bind although an old connection lingers (`SO_REUSEADDR`).
    ReuseAddr(bool),
    /// `:send-buffer-size`: the same of what is to be sent (`SO_SNDBUF`, `net.core.wmem_max`). What
    /// finds no place there waits with the process.
    SendBuffer(u32),
}

impl SockOption {
    /// The keywords of all options.
    pub const KEYWORDS: [&str; 11] = [
        ":bindtodevice",
        ":broadcast",
        ":dontroute",
        ":keepalive",
        ":linger",
        ":nodelay",
        ":oobinline",
        ":priority",
        ":recv-buffer-size",
        ":reuseaddr",
        ":send-buffer-size",
    ];

    /// The option of that keyword with that value; `None` if there is no such option.
    ///
    /// Options that are on or off take anything for on and `nil` for off. `:linger` takes seconds, 0
    /// to reset, `t` for 30 seconds; `:priority` an integer; sizes a number of bytes below 2 GiB;
    /// `:bindtodevice` a name or `nil`.
    ///
    /// # Errors
    ///
    /// [`OptionError`] names the option and what is wrong with the value.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc_core::{options::SockOption, plist::Value};
    ///
    /// assert_eq!(SockOption::new(":linger", &2.into()), Ok(Some(SockOption::Linger(Some(2)))));
    /// assert_eq!(SockOption::new(":host", &2.into()), Ok(None));
    /// let refused = SockOption::new(":priority", &Value::True).unwrap_err();
    /// assert_eq!(refused.emacs_message(), "Bad option value for :priority");
    /// ```
    pub fn new(keyword: &str, value: &Value) -> Result<Option<Self>, OptionError> {
        let on = value.is_true();
        Ok(Some(match keyword {
            ":bindtodevice" => Self::BindToDevice(device(value)?),
            ":broadcast" => Self::Broadcast(on),
            ":dontroute" => Self::DontRoute(on),
            ":keepalive" => Self::KeepAlive(on),
            ":linger" => Self::Linger(seconds(value)?),
            ":nodelay" => Self::NoDelay(on),
            ":oobinline" => Self::OobInline(on),
            ":priority" => Self::Priority(integer(":priority", value, i32::MIN)?),
            ":recv-buffer-size" => Self::RecvBuffer(size(":recv-buffer-size", value)?),
            ":reuseaddr" => Self::ReuseAddr(on),
            ":send-buffer-size" => Self::SendBuffer(size(":send-buffer-size", value)?),
            _ => return Ok(None),
        }))
    }

    /// Whether the system can hold its value whole: a device name that it would cut may be that of
    /// another device, and a size of 2 GiB is a negative one.
    ///
    /// # Errors
    ///
    /// [`OptionError`], as of [`new`](Self::new), which has checked it already.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc_core::options::{OptionError, SockOption};
    ///
    /// let option = SockOption::BindToDevice(Some("sixteen--letters".into()));
    /// assert_eq!(option.check(), Err(OptionError::DeviceName(16)));
    /// ```
    pub fn check(&self) -> Result<(), OptionError> {
        match self {
            Self::BindToDevice(Some(name)) => check_device(name),
            Self::RecvBuffer(size) | Self::SendBuffer(size) => {
                in_range(self.keyword(), i64::from(*size), 0).map(drop)
            }
            Self::BindToDevice(None)
            | Self::Broadcast(_)
            | Self::DontRoute(_)
            | Self::KeepAlive(_)
            | Self::Linger(_)
            | Self::NoDelay(_)
            | Self::OobInline(_)
            | Self::Priority(_)
            | Self::ReuseAddr(_) => Ok(()),
        }
    }

    /// Its value, as [`new`](Self::new) takes it.
    #[must_use]
    pub fn value(&self) -> Value {
        match self {
            Self::BindToDevice(name) => name.as_deref().into(),
            Self::Broadcast(on)
            | Self::DontRoute(on)
            | Self::KeepAlive(on)
            | Self::NoDelay(on)
            | Self::OobInline(on)
            | Self::ReuseAddr(on) => (*on).into(),
            Self::Linger(seconds) => seconds.map(i64::from).into(),
            Self::Priority(priority) => i64::from(*priority).into(),
            Self::RecvBuffer(size) | Self::SendBuffer(size) => i64::from(*size).into(),
        }
    }

    /// The keyword Emacs has for it.
    #[must_use]
    pub const fn keyword(&self) -> &'static str {
        match self {
            Self::BindToDevice(_) => ":bindtodevice",
            Self::Broadcast(_) => ":broadcast",
            Self::DontRoute(_) => ":dontroute",
            Self::KeepAlive(_) => ":keepalive",
            Self::Linger(_) => ":linger",
            Self::NoDelay(_) => ":nodelay",
            Self::OobInline(_) => ":oobinline",
            Self::Priority(_) => ":priority",
            Self::RecvBuffer(_) => ":recv-buffer-size",
            Self::ReuseAddr(_) => ":reuseaddr",
            Self::SendBuffer(_) => ":send-buffer-size",
        }
    }
}

impl fmt::Display for SockOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.keyword())
    }
}

fn wrong(option: &'static str, expected: &'static str, value: &Value) -> OptionError {
    OptionError::Kind { option, expected, value: value.to_string() }
}

fn device(value: &Value) -> Result<Option<String>, OptionError> {
    if !value.is_true() {
        return Ok(None);
    }
    let name = value.as_str().ok_or_else(|| wrong(":bindtodevice", "a name or nil", value))?;
    check_device(name)?;
    Ok((!name.is_empty()).then(|| name.into()))
}

fn check_device(name: &str) -> Result<(), OptionError> {
    if name.contains('\0') {
        return Err(wrong(":bindtodevice", "a name without a NUL", &name.into()));
    }
    match name.len() {
        0..=DEVICE_LEN_MAX => Ok(()),
        len => Err(OptionError::DeviceName(len)),
    }
}

fn seconds(value: &Value) -> Result<Option<u16>, OptionError> {
    if !value.is_true() {
        return Ok(None);
    }
    if *value == Value::True {
        return Ok(Some(LINGER_DEFAULT));
    }
    let expected = "a number of seconds, t or nil";
    let given = value.as_integer().ok_or_else(|| wrong(":linger", expected, value))?;
    let range =
        OptionError::Range { option: ":linger", value: given, min: 0, max: u16::MAX.into() };
    u16::try_from(given).map(Some).map_err(|_| range)
}

fn integer(option: &'static str, value: &Value, min: i32) -> Result<i32, OptionError> {
    let given = value.as_integer().ok_or_else(|| wrong(option, "an integer", value))?;
    in_range(option, given, min)
}

fn in_range(option: &'static str, given: i64, min: i32) -> Result<i32, OptionError> {
    let range =
        || OptionError::Range { option, value: given, min: min.into(), max: i32::MAX.into() };
    i32::try_from(given).ok().filter(|&given| given >= min).ok_or_else(range)
}

fn size(option: &'static str, value: &Value) -> Result<u32, OptionError> {
    integer(option, value, 0).map(i32::cast_unsigned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_keyword_makes_its_option_and_gives_its_value_back() {
        for keyword in SockOption::KEYWORDS {
            let value = match keyword {
                ":bindtodevice" => Value::from("lo"),
                ":priority" | ":linger" | ":recv-buffer-size" | ":send-buffer-size" => 5.into(),
                _ => Value::True,
            };
            let option = SockOption::new(keyword, &value).unwrap().unwrap();
            assert_eq!((option.keyword(), option.value()), (keyword, value));
        }
    }

    #[test]
    fn values_at_and_beyond_the_edge() {
        let good = [
            (":linger", "0", SockOption::Linger(Some(0))),
            (":linger", "65535", SockOption::Linger(Some(u16::MAX))),
            (":linger", "t", SockOption::Linger(Some(30))),
            (":linger", "nil", SockOption::Linger(None)),
            (":priority", "-1", SockOption::Priority(-1)),
            (":priority", "2147483647", SockOption::Priority(i32::MAX)),
            (":recv-buffer-size", "0", SockOption::RecvBuffer(0)),
            (":send-buffer-size", "2147483647", SockOption::SendBuffer(i32::MAX.cast_unsigned())),
            (":bindtodevice", "\"\"", SockOption::BindToDevice(None)),
            (
                ":bindtodevice",
                "\"fifteen-letters\"",
                SockOption::BindToDevice(Some("fifteen-letters".into())),
            ),
            (":keepalive", "anything", SockOption::KeepAlive(true)),
        ];
        for (keyword, value, option) in good {
            assert_eq!(SockOption::new(keyword, &value.parse().unwrap()), Ok(Some(option)));
        }
        let bad = [
            (":linger", "65536", "out of the range"),
            (":linger", "-1", "out of the range"),
            (":linger", "\"x\"", "not a number"),
            (":priority", "2147483648", "out of the range"),
            (":priority", "nil", "not an integer"),
            (":priority", "3.5", "not an integer"),
            (":recv-buffer-size", "-1", "out of the range 0 to"),
            (":send-buffer-size", "2147483648", "out of the range 0 to"),
            (":send-buffer-size", "t", "not an integer"),
            (":bindtodevice", "5", "not a name"),
            (":bindtodevice", "\"sixteen--letters\"", "too long"),
            (":bindtodevice", "\"lo\\0\"", "without a NUL"),
        ];
        for (keyword, value, problem) in bad {
            let refused = SockOption::new(keyword, &value.parse().unwrap()).unwrap_err();
            assert!(refused.to_string().contains(problem), "{keyword} {value}: {refused}");
        }
    }

    #[test]
    fn a_size_that_the_system_would_take_for_a_negative_one_is_refused() {
        let good = SockOption::SendBuffer(i32::MAX.cast_unsigned());
        assert_eq!(good.check(), Ok(()));
        let range = |option, value| OptionError::Range { option, value, min: 0, max: 0x7fff_ffff };
        for (option, refused) in [
            (SockOption::RecvBuffer(1 << 31), range(":recv-buffer-size", 1 << 31)),
            (SockOption::SendBuffer(u32::MAX), range(":send-buffer-size", 0xffff_ffff)),
        ] {
            assert_eq!(option.check(), Err(refused));
        }
    }
}
