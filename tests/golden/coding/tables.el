;;; tables.el --- Writes core/src/coding/tables.rs from what Emacs answers  -*- lexical-binding: t -*-
;;
;; LC_ALL=C.UTF-8 emacs -Q --batch -l tables.el > ../../../core/src/coding/tables.rs
;;
;; Only the character sets that encoding_rs has no table for; see single_byte.rs and charset.rs for
;; the others.  Emacs is asked through `decode-char' and `decode-coding-string' alone.

(defconst high-halves
  '(adobe-standard-encoding cp437 cp737 cp775 cp850 cp851 cp852 cp855 cp857 cp858 cp860 cp861 cp862
    cp863 cp865 cp869 cyrillic-alternativnyj georgian-academy georgian-ps hp-roman8 koi8-t mik next
    pt154 thai-tis620 vietnamese-tcvn vietnamese-viscii vietnamese-vscii))

(defun constant (name) (upcase (replace-regexp-in-string "-" "_" (format "%s" name))))
(defun literal (char)
  (cond ((null char) " ")
        ((memq char '(?\\ ?\")) (format "\\%c" char))
        ((memq (get-char-code-property char 'general-category) '(Cc Cf Zs Zl Zp Mn Mc Me Co Cn))
         (format "\\u{%X}" char))
        (t (string char))))
(defun unicode (char) (and char (<= char #x10ffff) char))
(defun decoded (system byte)
  (unicode (aref (string-to-multibyte (decode-coding-string (unibyte-string byte) system)) 0)))
(defun out (&rest args) (princ (apply #'format args)))

(out "//! Character sets that no crate here has a table for; data only, written by Emacs.\n//!\n")
(out "//! Made by `LC_ALL=C.UTF-8 emacs -Q --batch -l tests/golden/coding/tables.el` (Emacs 28.2).\n")
(out "//! A space stands for a code without a character.\n")

(dolist (system high-halves)
  (out "\n/// %s: what bytes 80 to FF stand for.\n#[rustfmt::skip]\npub(super) const %s: &str = \"" system (constant system))
  (dotimes (i 128) (out "%s" (literal (decoded system (+ 128 i)))))
  (out "\";\n"))

(out "\n/// Lao: what bytes 21 to 7E stand for.\n#[rustfmt::skip]\npub(super) const LAO: &str = \"")
(dotimes (i 94) (out "%s" (literal (decoded 'lao (+ #x21 i)))))
(out "\";\n")

(dolist (plane '((japanese-jisx0213\.2004-1 . "JISX0213_1") (japanese-jisx0213-2 . "JISX0213_2")))
  (out "\n/// JIS X 0213:2004, plane %s: rows of 94 characters with their first byte.\n#[rustfmt::skip]\npub(super) const %s: &[(u8, &str)] = &[\n"
       (substring (cdr plane) -1) (cdr plane))
  (dotimes (i 94)
    (let* ((row (+ #x21 i)) (found nil)
           (chars (mapcar (lambda (j)
                            (let ((char (unicode (decode-char (car plane) (+ (* 256 row) #x21 j)))))
                              (when char (setq found t))
                              char))
                          (number-sequence 0 93))))
      (when found (out "    (0x%X, \"%s\"),\n" row (mapconcat #'literal chars "")))))
  (out "];\n"))

(out "\n/// JIS C 6226:1978: codes whose character differs from that of JIS X 0208.\n#[rustfmt::skip]\npub(super) const JISX0208_1978: &[(u16, char)] = &[")
(let ((n 0))
  (dotimes (i 94)
    (dotimes (j 94)
      (let* ((code (+ (* 256 (+ #x21 i)) #x21 j))
             (old (unicode (decode-char 'japanese-jisx0208-1978 code)))
             (new (unicode (decode-char 'japanese-jisx0208 code))))
        (when (and old (not (eq old new)))
          (out "%s(0x%X, '%s')," (if (zerop (% n 8)) "\n    " " ") code (literal old))
          (setq n (1+ n)))))))
(out "\n];\n")

(out "\n/// The IBM characters of EUC-JP (ms), rows F3 and F4 behind 8F: codes and characters.\n#[rustfmt::skip]\npub(super) const EUCJP_MS: &[(u16, char)] = &[")
(let ((n 0))
  (dolist (row '(#xf3 #xf4))
    (dotimes (j 94)
      (let* ((text (decode-coding-string (unibyte-string #x8f row (+ #xa1 j)) 'eucjp-ms-unix))
             (char (and (= (length text) 1) (unicode (aref text 0)))))
        (when (and char (not (eq char (unicode (decode-char 'japanese-jisx0212 (+ (* 256 (- row 128)) #x21 j))))))
          (out "%s(0x%X, '%s')," (if (zerop (% n 8)) "\n    " " ") (+ (* 256 (- row 128)) #x21 j) (literal char))
          (setq n (1+ n)))))))
(out "\n];\n")
