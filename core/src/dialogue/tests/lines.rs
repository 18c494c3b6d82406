//! The ready dialogues of protocols made of lines, by their documents.

use super::*;

use Protocol::{Ftp, Imap, Nntp, Pop3, Sieve, Smtp};
use StreamType::{Network, Plain, StartTls, Tls as Secure};

fn starttls(protocol: Protocol) -> DialogueParams {
    protocol.params(StartTls, "host.example")
}

fn network(protocol: Protocol) -> DialogueParams {
    protocol.params(Network, "host.example")
}

const EHLO: Line = C("EHLO localhost\r\n");
const MAIL: Line = S("220-mail.imc.org SMTP service\r\n220 ready\r\n");
const OFFER: Line = S("250-mail.imc.org\r\n250-8BITMIME\r\n250-STARTTLS\r\n250 DSN\r\n");
const CAPABILITY: Line = C("C1 CAPABILITY\r\n");

const SMTP: &[Conversation] = &[
    one(
        "RFC 3207, 5",
        || starttls(Smtp),
        &[
            MAIL,
            EHLO,
            OFFER,
            C("STARTTLS\r\n"),
            S("220 Go ahead\r\n"),
            Tls,
            EHLO,
            S("250-mail.imc.org\r\n250 AUTH PLAIN\r\n"),
        ],
        r"tls [220-mail.imc.org SMTP service\r\n220 ready\r\n] [250-mail.imc.org\r\n250 AUTH PLAIN\r\n]",
    ),
    one(
        "smtp: refused for now",
        || starttls(Smtp),
        &[MAIL, EHLO, OFFER, C("STARTTLS\r\n"), S("454 TLS not available\r\n")],
        "failed: server refused to start TLS: 454 TLS not available",
    ),
    one(
        "smtp: looks like an offer",
        || starttls(Smtp),
        &[MAIL, EHLO, S("250-XSTARTTLS\r\n250-SIZE STARTTLS\r\n251-STARTTLS\r\n250 STARTTLSX\r\n")],
        "failed: server does not support TLS",
    ),
    one(
        "smtp: offer without a text, in small letters",
        || starttls(Smtp),
        &[S("220\r\n"), EHLO, S("250 starttls\r\n"), C("STARTTLS\r\n"), S("220\r\n"), Tls, EHLO],
        "waits for the capabilities",
    ),
    one(
        "smtp: looks like a yes",
        || starttls(Smtp),
        &[MAIL, EHLO, OFFER, C("STARTTLS\r\n"), S("454-220 go ahead\r\n454 220 ready\r\n")],
        r"failed: server refused to start TLS: 454-220 go ahead\r\n454 220 ready",
    ),
    one(
        "smtp: looks like a yes in its last line",
        || starttls(Smtp),
        &[MAIL, EHLO, OFFER, C("STARTTLS\r\n"), S("454-no\r\n220 ready\r\n")],
        r"failed: server refused to start TLS: 454-no\r\n220 ready",
    ),
    one(
        "smtp: another number that begins so",
        || starttls(Smtp),
        &[MAIL, EHLO, OFFER, C("STARTTLS\r\n"), S("2200 ready\r\n220x ready\r\n"), Late],
        "failed: timed out while waiting for the answer to STARTTLS",
    ),
    one(
        "smtp: injected command answers",
        || starttls(Smtp),
        &[MAIL, EHLO, OFFER, C("STARTTLS\r\n"), S("220 Go ahead\r\n250 injected\r\n")],
        "failed: clear text after STARTTLS",
    ),
    one(
        "smtp: injected, and only wished for",
        || network(Smtp),
        &[MAIL, EHLO, OFFER, C("STARTTLS\r\n"), S("220 Go ahead\r\n"), S("\n")],
        "failed: clear text after STARTTLS",
    ),
    one(
        "smtp: hangs up",
        || network(Smtp),
        &[MAIL, EHLO, S("250-mail.imc.org\r\n250-STARTTLS\r\n250"), Closes],
        "failed: connection closed by the server while waiting for the capabilities",
    ),
    one(
        "smtp: turned away",
        || network(Smtp),
        &[S("554 no service\r\n")],
        "failed: the server's greeting turns us away: 554 no service",
    ),
    one(
        "smtp: EHLO unknown",
        || network(Smtp),
        &[MAIL, EHLO, S("502 what\r\n")],
        r"plain [220-mail.imc.org SMTP service\r\n220 ready\r\n] [502 what\r\n] error server does not support TLS",
    ),
    one(
        "smtp: TLS first",
        || Smtp.params(Secure, "h"),
        &[Tls, S("220 hi\r\n"), EHLO, S("250 hi\r\n")],
        r"tls [220 hi\r\n] [250 hi\r\n]",
    ),
    one("smtp: plain", || Smtp.params(Plain, "h"), &[S("220 hi\r\n")], r"plain [220 hi\r\n] [nil]"),
];

const IMAP: &[Conversation] = &[
    one(
        "RFC 9051, 6.2.1",
        || starttls(Imap),
        &[
            S("* OK [CAPABILITY IMAP4rev2] hi\r\n"),
            CAPABILITY,
            S("* CAPABILITY IMAP4rev1 IMAP4rev2 STARTTLS LOGINDISABLED\r\nC1 OK done\r\n"),
            C("S1 STARTTLS\r\n"),
            S("S1 OK Begin TLS negotiation now\r\n"),
            Tls,
            CAPABILITY,
            S("* CAPABILITY IMAP4rev2 AUTH=PLAIN\r\nC1 OK done\r\n"),
        ],
        r"tls [* OK [CAPABILITY IMAP4rev2] hi\r\n] [* CAPABILITY IMAP4rev2 AUTH=PLAIN\r\nC1 OK done\r\n]",
    ),
    one(
        "imap: refused",
        || starttls(Imap),
        &[
            S("* OK hi\r\n"),
            CAPABILITY,
            S("* CAPABILITY STARTTLS\r\nC1 OK done\r\n"),
            C("S1 STARTTLS\r\n"),
            S("S1 BAD no\r\n"),
        ],
        "failed: server refused to start TLS: S1 BAD no",
    ),
    one(
        "imap: looks like an offer",
        || starttls(Imap),
        &[
            S("* OK hi\r\n"),
            CAPABILITY,
            S("* CAPABILITY XSTARTTLS STARTTLSX\r\n* OK STARTTLS\r\nC1 OK STARTTLS\r\n"),
        ],
        "failed: server does not support TLS",
    ),
    one(
        "imap: looks like a yes",
        || starttls(Imap),
        &[
            S("* OK hi\r\n"),
            CAPABILITY,
            S("* CAPABILITY STARTTLS\r\nC1 OK done\r\n"),
            C("S1 STARTTLS\r\n"),
            S("* OK S1 OK\r\nC1 OK begin\r\nXS1 OK\r\nS1 NO S1 OK\r\n"),
        ],
        r"failed: server refused to start TLS: * OK S1 OK\r\nC1 OK begin\r\nXS1 OK\r\nS1 NO S1 OK",
    ),
    one(
        "imap: a yes with a tail",
        || starttls(Imap),
        &[
            S("* OK hi\r\n"),
            CAPABILITY,
            S("* CAPABILITY STARTTLS\r\nC1 OK done\r\n"),
            C("S1 STARTTLS\r\n"),
            S("S1 OK-NOT\r\n"),
        ],
        "failed: server refused to start TLS: S1 OK-NOT",
    ),
    one(
        "imap: injected capabilities",
        || starttls(Imap),
        &[
            S("* OK hi\r\n"),
            CAPABILITY,
            S("* CAPABILITY STARTTLS\r\nC1 OK done\r\n"),
            C("S1 STARTTLS\r\n"),
            S("S1 OK go\r\n* CAPABILITY AUTH=PLAIN\r\n"),
        ],
        "failed: clear text after STARTTLS",
    ),
    one(
        "imap: authenticated before TLS",
        || starttls(Imap),
        &[S("* PREAUTH hi\r\n")],
        "failed: the server's greeting turns us away: * PREAUTH hi",
    ),
    one(
        "imap: bye",
        || network(Imap),
        &[S("* BYE full\r\n")],
        "failed: the server's greeting turns us away: * BYE full",
    ),
];

const POP3: &[Conversation] = {
    const CAPA: Line = C("CAPA\r\n");
    const OFFER: Line = S("+OK list follows\r\nTOP\r\nSTLS\r\n.\r\n");
    &[
        one(
            "RFC 2595, 4",
            || starttls(Pop3),
            &[
                S("+OK ready\r\n"),
                CAPA,
                OFFER,
                C("STLS\r\n"),
                S("+OK Begin TLS negotiation\r\n"),
                Tls,
                CAPA,
                S("+OK\r\nUSER\r\n.\r\n"),
            ],
            r"tls [+OK ready\r\n] [+OK\r\nUSER\r\n.\r\n]",
        ),
        one(
            "pop3: no CAPA",
            || network(Pop3),
            &[S("+OK ready\r\n"), CAPA, S("-ERR unknown\r\n")],
            r"plain [+OK ready\r\n] [-ERR unknown\r\n] error server does not support TLS",
        ),
        one(
            "pop3: refused",
            || starttls(Pop3),
            &[S("+OK ready\r\n"), CAPA, OFFER, C("STLS\r\n"), S("-ERR no\r\n")],
            "failed: server refused to start TLS: -ERR no",
        ),
        one(
            "pop3: looks like an offer, and like an end",
            || starttls(Pop3),
            &[
                S("+OK ready\r\n"),
                CAPA,
                S("+OK\r\nIMPLEMENTATION STLS\r\nSTLSX\r\n..\r\n.x\r\n.\r\n"),
            ],
            "failed: server does not support TLS",
        ),
        one(
            "pop3: looks like a yes",
            || starttls(Pop3),
            &[S("+OK ready\r\n"), CAPA, OFFER, C("STLS\r\n"), S("+OKAY\r\n-ERR +OK\r\n")],
            r"failed: server refused to start TLS: +OKAY\r\n-ERR +OK",
        ),
        one(
            "pop3: a yes with a tail",
            || starttls(Pop3),
            &[S("+OK ready\r\n"), CAPA, OFFER, C("STLS\r\n"), S("+OK-NOT\r\n")],
            "failed: server refused to start TLS: +OK-NOT",
        ),
        one(
            "pop3: injected",
            || starttls(Pop3),
            &[S("+OK ready\r\n"), CAPA, OFFER, C("STLS\r\n"), S("+OK\r\n+OK logged in\r\n")],
            "failed: clear text after STARTTLS",
        ),
    ]
};

const NNTP: &[Conversation] = {
    const ASK: Line = C("CAPABILITIES\r\n");
    const OFFER: Line = S("101 Capability list:\r\nVERSION 2\r\nREADER\r\nSTARTTLS\r\n.\r\n");
    &[
        one(
            "RFC 4642, 2.3",
            || starttls(Nntp),
            &[
                S("200 news\r\n"),
                ASK,
                OFFER,
                C("STARTTLS\r\n"),
                S("382 Continue with TLS negotiation\r\n"),
                Tls,
                ASK,
                S("101 list\r\nAUTHINFO USER\r\n.\r\n"),
            ],
            r"tls [200 news\r\n] [101 list\r\nAUTHINFO USER\r\n.\r\n]",
        ),
        one(
            "nntp: refused",
            || starttls(Nntp),
            &[S("201 news\r\n"), ASK, OFFER, C("STARTTLS\r\n"), S("580 Can not initiate TLS\r\n")],
            "failed: server refused to start TLS: 580 Can not initiate TLS",
        ),
        one(
            "nntp: CAPABILITIES unknown",
            || network(Nntp),
            &[S("200 news\r\n"), ASK, S("500 what\r\n")],
            r"plain [200 news\r\n] [500 what\r\n] error server does not support TLS",
        ),
        one(
            "nntp: looks like a yes",
            || starttls(Nntp),
            &[S("200 news\r\n"), ASK, OFFER, C("STARTTLS\r\n"), S("3820 x\r\n502 382 x\r\n")],
            r"failed: server refused to start TLS: 3820 x\r\n502 382 x",
        ),
        one(
            "nntp: looks like an offer",
            || starttls(Nntp),
            &[S("200 news\r\n"), ASK, S("101 x\r\nXSTARTTLS\r\nSASL STARTTLS\r\n.\r\n")],
            "failed: server does not support TLS",
        ),
        one(
            "nntp: a yes with a tail",
            || starttls(Nntp),
            &[S("200 news\r\n"), ASK, OFFER, C("STARTTLS\r\n"), S("382-no\r\n")],
            "failed: server refused to start TLS: 382-no",
        ),
        one(
            "nntp: injected",
            || starttls(Nntp),
            &[S("200 news\r\n"), ASK, OFFER, C("STARTTLS\r\n"), S("382 go\r\n281 welcome\r\n")],
            "failed: clear text after STARTTLS",
        ),
        one(
            "nntp: turned away",
            || starttls(Nntp),
            &[S("400 later\r\n")],
            "failed: the server's greeting turns us away: 400 later",
        ),
    ]
};

const FTP: &[Conversation] = {
    const FEAT: Line = C("FEAT\r\n");
    const OFFER: Line =
        S("211-Extensions supported:\r\n SIZE\r\n AUTH TLS\r\n PBSZ\r\n211 END\r\n");
    &[
        one(
            "RFC 4217, 12",
            || starttls(Ftp),
            &[
                S("220-hi\r\n220 ready\r\n"),
                FEAT,
                OFFER,
                C("AUTH TLS\r\n"),
                S("234 AUTH TLS successful\r\n"),
                Tls,
                FEAT,
                S("211 none\r\n"),
            ],
            r"tls [220-hi\r\n220 ready\r\n] [211 none\r\n]",
        ),
        one(
            "ftp: FEAT unknown, AUTH known",
            || starttls(Ftp),
            &[
                S("220 hi\r\n"),
                FEAT,
                S("500 what\r\n"),
                C("AUTH TLS\r\n"),
                S("234 go\r\n"),
                Tls,
                FEAT,
            ],
            "waits for the capabilities",
        ),
        one(
            "ftp: ready in two minutes",
            || starttls(Ftp),
            &[S("120-busy\r\n we are\r\n120 in 2 minutes\r\n"), S("220-hi\r\n220 hi\r\n"), FEAT],
            "waits for the capabilities",
        ),
        one(
            "ftp: turned away",
            || starttls(Ftp),
            &[S("120 soon\r\n421-220 users\r\n421 are enough\r\n")],
            "failed: the server's greeting turns us away: 120 soon\\r\\n421-220 users\\r\\n421 are enough",
        ),
        one(
            "ftp: several mechanisms",
            || starttls(Ftp),
            &[
                S("220 hi\r\n"),
                FEAT,
                S("211-x\r\n AUTH SSL;TLS;TLS-P\r\n211 x\r\n"),
                C("AUTH TLS\r\n"),
            ],
            "waits for the answer to STARTTLS",
        ),
        one(
            "ftp: looks like an offer",
            || starttls(Ftp),
            &[
                S("220 hi\r\n"),
                FEAT,
                S("211-AUTH TLS\r\n AUTH TLSX\r\n XAUTH TLS\r\n211 AUTH TLS\r\n"),
            ],
            "failed: server does not support TLS",
        ),
        one(
            "ftp: refused",
            || starttls(Ftp),
            &[S("220 hi\r\n"), FEAT, OFFER, C("AUTH TLS\r\n"), S("534 234 no\r\n")],
            "failed: server refused to start TLS: 534 234 no",
        ),
        one(
            "ftp: a yes that becomes a no",
            || starttls(Ftp),
            &[S("220 hi\r\n"), FEAT, OFFER, C("AUTH TLS\r\n"), S("234-go\r\n534 no\r\n")],
            "failed: server refused to start TLS: 234-go\\r\\n534 no",
        ),
        one(
            "ftp: injected",
            || starttls(Ftp),
            &[S("220 hi\r\n"), FEAT, OFFER, C("AUTH TLS\r\n"), S("234 go\r\n230 logged in\r\n")],
            "failed: clear text after STARTTLS",
        ),
    ]
};

const SIEVE: &[Conversation] = {
    const GREETING: Line = S("\"IMPLEMENTATION\" \"x\"\r\n\"STARTTLS\"\r\nOK \"ready\"\r\n");
    const ASK: Line = C("CAPABILITY\r\n");
    const OFFER: Line = S("\"SIEVE\" \"fileinto\"\r\n\"STARTTLS\"\r\nOK\r\n");
    &[
        one(
            "RFC 5804, 2.2",
            || starttls(Sieve),
            &[
                GREETING,
                ASK,
                OFFER,
                C("STARTTLS\r\n"),
                S("OK \"Begin TLS negotiation now.\"\r\n"),
                Tls,
                S("\"SASL\" \"PLAIN\"\r\nOK\r\n"),
            ],
            r#"tls [\"IMPLEMENTATION\" \"x\"\r\n\"STARTTLS\"\r\nOK \"ready\"\r\n] [\"SASL\" \"PLAIN\"\r\nOK\r\n]"#,
        ),
        one(
            "sieve: refused",
            || starttls(Sieve),
            &[GREETING, ASK, OFFER, C("STARTTLS\r\n"), S("NO \"OK\"\r\n")],
            r#"failed: server refused to start TLS: NO \"OK\""#,
        ),
        one(
            "sieve: looks like a yes",
            || starttls(Sieve),
            &[GREETING, ASK, OFFER, C("STARTTLS\r\n"), S("OKAY\r\n\"OK\"\r\nBYE (TRYLATER)\r\n")],
            r#"failed: server refused to start TLS: OKAY\r\n\"OK\"\r\nBYE (TRYLATER)"#,
        ),
        one(
            "sieve: looks like an offer",
            || starttls(Sieve),
            &[GREETING, ASK, S("\"NOTIFY\" \"STARTTLS\"\r\n\"XSTARTTLS\"\r\nOK\r\n")],
            "failed: server does not support TLS",
        ),
        one(
            "sieve: a yes with a tail",
            || starttls(Sieve),
            &[GREETING, ASK, OFFER, C("STARTTLS\r\n"), S("OK-NOT\r\n")],
            "failed: server refused to start TLS: OK-NOT",
        ),
        one(
            "sieve: injected capabilities",
            || starttls(Sieve),
            &[GREETING, ASK, OFFER, C("STARTTLS\r\n"), S("OK\r\n\"SASL\" \"PLAIN\"\r\nOK\r\n")],
            "failed: clear text after STARTTLS",
        ),
        one(
            "sieve: turned away",
            || starttls(Sieve),
            &[S("BYE \"full\"\r\n")],
            r#"failed: the server's greeting turns us away: BYE \"full\""#,
        ),
    ]
};

pub(super) const CONVERSATIONS: [&[Conversation]; 6] = [SMTP, IMAP, POP3, NNTP, FTP, SIEVE];

#[test]
fn protocols_of_lines_talk_as_their_documents_say() {
    CONVERSATIONS.into_iter().for_each(hold_all);
}
