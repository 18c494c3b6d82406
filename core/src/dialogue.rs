//! The conversation that opens a stream: greeting, capabilities, STARTTLS, capabilities again.
//!
//! A [`Dialogue`] is the whole of Emacs's `open-network-stream` behind the connection, without sockets,
//! clock or TLS: it is fed what arrives and yields [`Step`]s. [`DialogueParams`] say what to send and
//! what to expect; [`Protocol`] has them ready for nine protocols, and [`server`] plays the other
//! side of three. Expressions are [`Regexp`]s in Emacs's syntax.
//!
//! Invariants: however the bytes are cut into pieces, the same comes out. Bytes in clear behind the
//! answer that starts TLS end the dialogue, and nobody sees them. Nothing grows beyond its limit, and
//! every byte is looked at once. Whatever is wrong with the parameters is said before anything is sent.
//!
//! # Examples
//!
//! ```
//! use netproc_core::dialogue::{Dialogue, Protocol, Step, StreamKind, StreamType};
//!
//! let mut dialogue = Dialogue::new(Protocol::Smtp.params(StreamType::StartTls, "mail.example"))?;
//! dialogue.receive(b"220 mail.example ready\r\n");
//! assert_eq!(dialogue.poll(), Some(Step::Send(b"EHLO localhost\r\n".to_vec())));
//! dialogue.receive(b"250-mail.example\r\n250 START");
//! assert_eq!(dialogue.poll(), None);
//! dialogue.receive(b"TLS\r\n");
//! assert_eq!(dialogue.poll(), Some(Step::Send(b"STARTTLS\r\n".to_vec())));
//! dialogue.receive(b"220 go ahead\r\n");
//! assert_eq!(dialogue.poll(), Some(Step::StartTls));
//! dialogue.tls_done();
//! assert_eq!(dialogue.poll(), Some(Step::Send(b"EHLO localhost\r\n".to_vec())));
//! dialogue.receive(b"250-mail.example\r\n250 AUTH PLAIN\r\n");
//! let Some(Step::Done(outcome)) = dialogue.poll() else { panic!("not done") };
//! assert_eq!(outcome.kind, StreamKind::Tls);
//! assert_eq!(outcome.capabilities.as_deref(), Some(&b"250-mail.example\r\n250 AUTH PLAIN\r\n"[..]));
//! # Ok::<(), netproc_core::dialogue::DialogueError>(())
//! ```

mod binary;
mod error;
mod machine;
mod params;
mod protocol;
mod regexp;
mod response;
pub mod server;
mod step;
#[cfg(test)]
mod tests;

pub use self::{
    error::{CommandError, DialogueError, Parameter},
    machine::Dialogue,
    params::{
        AfterTls, Check, DialogueLimits, DialogueParams, End, Frame, StreamType, StreamTypeError,
    },
    protocol::{Protocol, ProtocolError},
    regexp::{Regexp, RegexpError, RegexpErrorKind},
    step::{Failure, Outcome, Reason, Stage, Step, StreamKind, Unencrypted},
};
