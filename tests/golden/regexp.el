;;; regexp.el --- Asks Emacs what regular expressions match; prints regexp.tsv  -*- lexical-binding: t -*-
;;
;; LC_ALL=C.UTF-8 emacs -Q --batch -l regexp.el > regexp.tsv      (Emacs 28.2)
;;
;; First the texts, one row each: `text', the text.  Then a row per expression: `fold' or `exact' (the
;; value of case-fold-search), the expression, and an answer per text: `y' if it matches in the whole
;; text, else `n', then the length of the shortest beginning of the text in which it matches, or `-'.
;; Where the expression is refused there is `error: ' and why instead.
;;
;; What is not printable ASCII, and `%', is written %XX.  Texts are multibyte with raw bytes, as they
;; are in a buffer that a process with the coding `binary' writes to; the syntax table is the standard
;; one.

(defconst texts
  '("" "a" "aa" "b" "aab" "abc def" "220 hello\r\n" "250-STARTTLS\r\n250 OK\r\n"
    "+OK ready\r\n-ERR no\r\n" "* OK [x] hi\r\na1 BAD foo_bar\r\n" "*a+b?{2}^$ \\|()"
    "\n\nx$y_z\n" "foo-bar foo_bar2 %w" "\t \"q;'\f\000\177" "caf\303\251 \377z" "aaa]b-]z"
    "A1B2c3-/.," "ok\nOK\n" "x^a*b" "{2}a{2}"))

(defconst patterns
  '(;; What mail and news clients write.
    "^[0-9]+ .*\r\n" "\r\n" "^2.*\n" "^\\+OK.*\n" "^\\(-ERR\\|\\+OK\\).*\n" "^\\(-ERR\\|+OK\\).*\n"
    "^\\.\r\n\\|^-ERR" "^382" "^\\([2345]\\|[.]\\).*\n" " OK " "^[*.A-Za-z0-9]+ \\(OK\\|BAD\\|NO\\)"
    "STARTTLS" "\\bSTARTTLS\\b" "^\\(OK\\|NO\\|BYE\\).*\r?\n" "^220\\>" "[ -]OK" "^250[ -]STARTTLS\r?$"
    "\\`[0-9]\\{3\\} " "^[0-9]\\{3\\}\\(?: .*\\)?\r\n" "^a1 \\(OK\\|NO\\|BAD\\)\\b"
    ;; Plain characters and repetitions.
    "" "a" "ab" "a*" "a+" "a?" "a*b" "a+b" "a?b" "a*?b" "a+?b" "a??b" "a**" "a*+" "a+*" "a+?*" "a*??"
    "a???" "a++b" "." ".*" ".+" "..." "a.c" "\n" "\n." "a.*f" "\\*" "\\." "\\+" "\\[" "\\]" "\\\\" "\\$"
    "\\^" "\\?" "\\a" "\\d" "\\n" "\\/" "\\-" "\\0" "\\|" "a\\|b" "a\\|" "\\|a" "\\|\\|" "ab\\|cd\\|ef"
    "|" "(" ")" "(a)" "{" "}" "{2}" "a{2}" "a|b" "]" "a]"
    ;; Signs where there is nothing to repeat.
    "*" "+" "?" "*a" "+b" "?{" "^*" "^*a" "^+" "^?" "^*+" "^**" "\\(*a\\)" "\\(?:+b\\)" "\\(?3:?{\\)"
    "a\\|*a" "a\\|+b" "\\`*" "\\`*a" "\\`+" "\\`?" "\\(^*a\\)" "**" "*+" "+*b" "??"
    "\\{2\\}" "\\{2\\}a" "^\\{2\\}" "\\(\\{2\\}\\)" "a\\|\\{2\\}" "\\`\\{2\\}a"
    ;; Counts.
    "a\\{2\\}" "a\\{1,2\\}b" "a\\{2,\\}" "a\\{,2\\}b" "a\\{,\\}" "a\\{0\\}b" "a\\{0,0\\}" "a\\{\\}"
    "a\\{\\}b" "a\\{1\\}\\{2\\}" "a\\{2\\}*" "a\\{2\\}+b" "a\\{2\\}?" "a*\\{2\\}" "\\(ab?\\)\\{2\\}"
    "[0-9]\\{3\\}" "[a-f]\\{4,\\}" ".\\{3\\}-" "a\\{3\\}]" "a\\{2,1\\}" "a\\{2" "a\\{" "a\\{2," "a\\{x\\}"
    "a\\{2x\\}" "a\\{1,2,3\\}" "a\\{-1\\}" "a\\{ 1\\}" "a\\{65536\\}" "a\\{70000" "a\\{2\\" "a\\{2\\x"
    "a\\}" "\\}"
    ;; Groups.
    "\\(a\\)" "\\(a\\|b\\)c" "\\(a\\(b\\)\\)c" "\\(ab\\)*" "\\(ab\\)+c" "\\(ab\\)?c" "\\(a*\\)*b"
    "\\(a*\\)+b" "\\(a\\|b\\)*c" "\\(?:a\\|b\\)+" "\\(?1:a\\)b" "\\(?12:a\\)b" "\\(\\)" "\\(\\)*" "\\(\\|a\\)b"
    "\\(a\\|\\)b" "\\(" "\\(a" "a\\)" "\\)" "\\(a\\)\\)" "\\(\\(a\\)" "\\(?a\\)" "\\(?0:a\\)" "\\(?01:a\\)"
    "\\(?" "\\(?1" "\\(?:" "\\(?x:a\\)" "\\(?=a\\)" "\\(?:a\\|^b\\)" "\\(?:a$\\|b\\)"
    ;; Sets.
    "[abc]" "[a-c]" "[^a-c]" "[]]" "[]a]" "[^]]" "[^]a]" "[a]" "[a-]" "[-a]" "[]-a]" "[--/]" "[%--]"
    "[+--]" "[a\\]" "[\\]" "[\\n]" "[\\]]" "[a-\\]]" "[z-a]" "[^z-a]" "[b-a-z]" "[a-c-e]" "[a-a]" "[.]"
    "[*]" "[$]" "[^^]" "[a^]" "[ab]*c" "[0-9]+" "[A-Z]" "[^A-Z]" "[Z-a]" "[A-z]" "[]" "[^]" "[a" "[^a"
    "[" "[a-" "[]a" "[^\n]+" "[^ ]+ " "[\r\n]+" "[ \t]" "[\000-\037]" "[!-~]+\\'" "[a-z_]+2"
    "[[:alpha:]]+" "[[:digit:]]+" "[[:alnum:]]+" "[[:space:]]+" "[[:upper:]]+" "[[:lower:]]+"
    "[[:punct:]]" "[[:xdigit:]]\\{2\\}" "[[:word:]]+" "[[:blank:]]" "[[:cntrl:]]" "[[:graph:]]+"
    "[[:print:]]+" "[[:ascii:]]+" "[[:nonascii:]]" "[[:multibyte:]]" "[[:unibyte:]]\\'"
    "[^[:alpha:]]" "[^[:space:]]+" "[^[:digit:]]\\{5\\}" "[[:alpha:]_]+" "[[:alpha:][:digit:]]+" "[a[:digit:]-]+"
    "[[:alpha:]-z]" "[a-[:alpha:]]" "[^[:upper:]]" "[^[:ascii:]]" "[^[:nonascii:]]+\\'" "[[:foo:]]" "[[:Alpha:]]"
    "[[:alpha:" "[[:alpha:]" "[[:]" "[[:]]" "[:alpha:]" "[[:alpha]]" "[[:a]b:]]" "[[.a.]]" "[[=a=]]" "[[::]]"
    ;; Line ends and the ends of everything.
    "^" "$" "^$" "^a" "a$" "^a$" "^^a" "a$$" "a^b" "$a" "x$y" "^x" "x^a" "\n^x" "\\(^a\\)" "\\(a$\\)"
    "\\(a$\\)b" "a$\\|b" "a\\|^O" "OK$" "^OK$" "\r$" "^.*$" "^.+$" "$\n" "\\`a" "a\\'" "\\`\\'" "\\`^a" "a$\\'"
    "\\`ok\\|K\n\\'" "z\\'" "\\(a\\|^\\)b" "\\(?:^\\|[^0-9]\\)250" "\\(^\\)*a" "\\(?:$\\)*x" "\\(\\b\\)*a"
    ;; Words and symbols.
    "\\bfoo\\b" "\\Boo\\b" "\\b" "\\B" "\\b\\'" "\\`\\b" "\\`\\B" "\\B\\'" "\\<" "\\>" "\\<f" "f\\>" "\\<foo\\>" "\\_<" "\\_>"
    "\\_<foo\\_>" "\\_<bar" "bar\\_>" "\\bbar" "\\w" "\\W" "\\w+" "\\W+" "\\w+\\'" "\\ba" "a\\b" "a\\Ba"
    "\\s-" "\\S-" "\\s " "\\sw+" "\\Sw" "\\s_" "\\S_+" "\\s." "\\s(" "\\s)" "\\s\"" "\\s\\" "\\s/" "\\s'"
    "\\s$" "\\s<" "\\s>" "\\s!" "\\s|" "\\s@" "\\S-+" "\\s-*\\w" "\\b\\w+_\\w+\\b" "\\_<\\w+_\\w+\\_>"
    ;; What netproc refuses, and Emacs does not.
    "\\b+" "\\>*" "\\(a\\)\\1" "\\ca" "\\Ca" "\\=a" "\\s~" "\\s;a"
    "\\s" "\\S" "\\_" "\\_x" "\\" "a\\" "\\c" "\\b." ".\\b" "\\<\\w*\\>" "\\>." "\\_>."))

(defun quoted (bytes)
  (mapconcat (lambda (byte) (format (if (and (<= 32 byte 126) (/= byte ?%)) "%c" "%%%02X") byte))
             (encode-coding-string bytes 'binary t) ""))

(defun answer (pattern text)
  (let ((length 0))
    (while (and (<= length (length text))
                (not (string-match pattern (substring text 0 length))))
      (setq length (1+ length)))
    (format "%s%s" (if (string-match pattern text) "y" "n")
            (if (<= length (length text)) length "-"))))

(with-temp-buffer
  (setq texts (mapcar (lambda (text) (string-to-multibyte (encode-coding-string text 'raw-text t))) texts))
  (dolist (text texts) (princ (format "text\t%s\n" (quoted text))))
  (dolist (pattern patterns)
    (dolist (case-fold-search '(t nil))
      (princ (format "%s\t%s\t%s\n" (if case-fold-search "fold" "exact") (quoted pattern)
                     (condition-case why
                         (mapconcat (lambda (text) (answer pattern text)) texts " ")
                       (invalid-regexp (format "error: %s" (cadr why)))))))))
