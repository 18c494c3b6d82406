//! The command of a stream of the type `shell`: host and service put into a template.
//!
//! Invariant: what is put in has no character that means anything to a shell, inside of quotes or outside,
//! so that it is one word, or part of one, wherever it stands, but right beside a `$`, `~`, `\`, `<` or `>` of the
//! template; and it is no option. Quoting it would not do:
//! the template may have quotes of its own around it.

use crate::builder::Service;

/// What runs the command.
pub(crate) const SHELL: &str = "/bin/sh";

/// Why no command can be made. Nothing was started.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShellCommandError {
    /// A stream of this type needs a command.
    #[error("no command for the shell was given")]
    Missing,
    /// The host has something in it that could mean something to a shell, or to a program.
    #[error("the host {0:?} is not put into a command of the shell's")]
    Host(String),
    /// The same of the service; or there is none to name.
    #[error("the service {0:?} is not put into a command of the shell's")]
    Service(String),
    /// A `%` before something other than `s`, `p` and `%`, or at the end.
    #[error("invalid format %{} in a command of the shell's", .0.map(String::from).unwrap_or_default())]
    Format(Option<char>),
}

fn is_safe(word: &str, others: &str) -> bool {
    let safe = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c) || others.contains(c);
    !word.is_empty() && !word.starts_with('-') && word.chars().all(safe)
}

/// The template with `%s` and `%p` filled in.
pub(crate) fn command(
    template: &str,
    host: &str,
    service: &Service,
) -> Result<String, ShellCommandError> {
    let mut command = String::new();
    let mut rest = template.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            command.push(c);
            continue;
        }
        match rest.next() {
            Some('%') => command.push('%'),
            Some('s') if is_safe(host, ":") => command.push_str(host),
            Some('s') => return Err(ShellCommandError::Host(host.into())),
            Some('p') => {
                let named = *service != Service::Any;
                let service = service.to_string();
                if !(named && is_safe(&service, "")) {
                    return Err(ShellCommandError::Service(service));
                }
                command.push_str(&service);
            }
            other => return Err(ShellCommandError::Format(other)),
        }
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_service_are_put_in() {
        let cases = [
            ("ssh %s nc localhost %p", "ssh mail.example nc localhost 25"),
            ("echo '%s' \"%p\" 100%%", "echo 'mail.example' \"25\" 100%"),
            ("%%s%%p", "%s%p"),
            ("", ""),
        ];
        for (template, made) in cases {
            assert_eq!(command(template, "mail.example", &25.into()).as_deref(), Ok(made));
        }
        for host in ["::1", "fe80::1", "10.0.0.1", "a_b-c.d", "x"] {
            assert_eq!(command("%s", host, &1.into()).as_deref(), Ok(host));
        }
        for service in ["smtp", "imap-s", "25"] {
            assert_eq!(command("%p", "h", &service.into()).as_deref(), Ok(service));
        }
    }

    #[test]
    fn what_a_shell_could_take_for_something_else_is_refused() {
        let hosts = [
            "",
            "-oProxyCommand=x",
            "a b",
            "a;b",
            "a&b",
            "a|b",
            "$(x)",
            "`x`",
            "a'b",
            "a\"b",
            "a\\b",
            "a\nb",
            "a\0b",
            "~",
            "a*",
            "a?",
            "[::1]",
            "{a,b}",
            "a<b",
            "a>b",
            "a#b",
            "!x",
            "a=b",
            "a/b",
            "a@b",
            "%s",
            "m\u{e4}il",
            "a\tb",
            "a\rb",
            "\u{2028}",
        ];
        for host in hosts {
            let refused = Err(ShellCommandError::Host(host.into()));
            assert_eq!(command("echo %s", host, &25.into()), refused, "{host:?}");
            assert!(command("echo", host, &25.into()).is_ok(), "not put in");
        }
        for service in ["", "-1", "a b", "a;b", "$x", "25:26", "a/b"] {
            let refused = Err(ShellCommandError::Service(service.into()));
            assert_eq!(command("echo %p", "h", &service.into()), refused, "{service:?}");
        }
        let any = Err(ShellCommandError::Service("t".into()));
        assert_eq!(command("echo %p", "h", &Service::Any), any);
    }

    #[test]
    fn another_format_is_refused() {
        for (template, at) in
            [("%q", Some('q')), ("%", None), ("100% sure", Some(' ')), ("%-5s", Some('-'))]
        {
            assert_eq!(command(template, "h", &1.into()), Err(ShellCommandError::Format(at)));
        }
        let shown = ShellCommandError::Format(Some('q')).to_string();
        assert_eq!(shown, "invalid format %q in a command of the shell's");
    }
}
