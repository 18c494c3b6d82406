;;; make.el --- Asks Emacs how it decodes and encodes; writes the golden files beside it  -*- lexical-binding: t -*-
;;
;; LC_ALL=C.UTF-8 emacs -Q --batch -l make.el     (Emacs 28.2; some minutes)
;;
;; names.tsv        every coding system: base name, kind of line ends, aliases
;; single-byte.tsv  what each byte becomes, when it is not the ASCII character of that number
;; two-bytes.tsv    a hash per lead byte over the texts of all pairs of bytes that start with it
;; triples.tsv      the same for the three-byte rows of EUC: introducer, row, hash
;; encode.tsv       a hash per block of 256 characters over what each of them is encoded to
;; texts.tsv        system, bytes in hexadecimal, text: malformed input and mixed text
;; streams.tsv      system, reads in hexadecimal, text, system afterwards; through a real process
;;
;; Texts are written as Emacs sees them: printable ASCII as it is, `\n', `\r', `\u{E9}' for other
;; characters, `\xE9' for raw bytes.  The hash is FNV-1a, 32 bits, over three bytes per character,
;; low byte first, and 255 after each text; a raw byte B counts as the character 3FFF00 + B.

(defconst single-byte
  '(adobe-standard-encoding cp1125 cp437 cp737 cp775 cp850 cp851 cp852 cp855 cp857 cp858 cp860
    cp861 cp862 cp863 cp865 cp866 cp869 cp874 cyrillic-alternativnyj cyrillic-iso-8bit
    cyrillic-koi8 georgian-academy georgian-ps greek-iso-8bit hebrew-iso-8bit hp-roman8
    iso-8859-11 iso-8859-6 iso-latin-1 iso-latin-10 iso-latin-2 iso-latin-3 iso-latin-4
    iso-latin-5 iso-latin-6 iso-latin-7 iso-latin-8 iso-latin-9 koi8-t koi8-u lao mac-roman mik
    next pt154 thai-tis620 us-ascii vietnamese-tcvn vietnamese-viscii vietnamese-vscii
    windows-1250 windows-1251 windows-1252 windows-1253 windows-1254 windows-1255 windows-1256
    windows-1257 windows-1258))
(defconst multi-byte
  '(chinese-big5 chinese-big5-hkscs chinese-gb18030 chinese-gbk chinese-iso-8bit euc-jis-2004
    eucjp-ms japanese-cp932 japanese-iso-8bit japanese-shift-jis japanese-shift-jis-2004
    korean-cp949 korean-iso-8bit))
(defconst stateful
  '(iso-2022-jp iso-2022-jp-2 iso-2022-jp-2004 japanese-iso-7bit-1978-irv))
(defconst unicode
  '(utf-8 utf-8-with-signature utf-16le utf-16be utf-16 utf-16le-with-signature
    utf-16be-with-signature raw-text))

(defun unix (system) (intern (format "%s-unix" system)))

(defun hash-byte (hash byte) (logand (* (logxor hash byte) 16777619) #xffffffff))
(defun hash-text (hash text)
  (mapc (lambda (char)
          (setq hash (hash-byte hash (logand char 255))
                hash (hash-byte hash (logand (ash char -8) 255))
                hash (hash-byte hash (ash char -16))))
        text)
  (hash-byte hash 255))

(defun written (text)
  (mapconcat (lambda (char)
               (cond ((eq char ?\n) "\\n")
                     ((eq char ?\r) "\\r")
                     ((eq char ?\t) "\\t")
                     ((eq char ?\\) "\\\\")
                     ((and (>= char 32) (< char 127)) (string char))
                     ((> char #x3fff7f) (format "\\x%02X" (- char #x3fff00)))
                     (t (format "\\u{%X}" char))))
             text ""))
(defun hex (bytes) (mapconcat (lambda (byte) (format "%02x" byte)) bytes ""))

(defun decoded (system bytes)
  "The text of BYTES; a character outside Unicode counts as its bytes, which stay raw."
  (let ((text (string-to-multibyte (decode-coding-string (apply #'unibyte-string bytes) (unix system)))))
    (if (seq-find (lambda (char) (and (> char #x10ffff) (< char #x3fff80))) text)
        (mapcar (lambda (byte) (if (> byte 127) (+ #x3fff00 byte) byte)) bytes)
      (append text nil))))

(defun golden (name writer)
  (let ((coding-system-for-write 'utf-8-unix))
    (with-temp-file name (funcall writer)))
  (message "%s" name))
(defun row (&rest fields) (insert (mapconcat (lambda (field) (format "%s" field)) fields "\t") "\n"))

(golden "names.tsv"
  (lambda ()
    (dolist (system (sort (coding-system-list t) #'string<))
      (row system (if (vectorp (coding-system-eol-type system)) "any" "none")
           (mapconcat #'symbol-name (coding-system-aliases system) " ")))))

(golden "single-byte.tsv"
  (lambda ()
    (dolist (system single-byte)
      (insert (format "%s" system))
      (dotimes (byte 256)
        (let ((char (car (decoded system (list byte)))))
          (unless (eq char byte)
            (insert (format "\t%02x" byte) (if (> char #x3fff7f) "" (format "=%x" char))))))
      (insert "\n"))))

(golden "two-bytes.tsv"
  (lambda ()
    (dolist (system multi-byte)
      (dotimes (low 128)
        (let ((lead (+ 128 low)) (hash 2166136261))
          (dotimes (trail 256) (setq hash (hash-text hash (decoded system (list lead trail)))))
          (row system (format "%02x" lead) (format "%08x" hash)))))))

(golden "triples.tsv"
  (lambda ()
    (dolist (system '(japanese-iso-8bit eucjp-ms euc-jis-2004))
      (dotimes (low 94)
        (let ((lead (+ #xa1 low)) (hash 2166136261))
          (dotimes (trail 256)
            (setq hash (hash-text hash (decoded system (list #x8f lead trail)))))
          (row system "8f" (format "%02x" lead) (format "%08x" hash)))))))

(golden "encode.tsv"
  (lambda ()
    (dolist (system (append single-byte multi-byte stateful))
      (let ((unix (unix system)))
        (dotimes (block #x300)
          (unless (or (and (>= block #xd8) (< block #xe0)) (and (>= block #x100) (< block #x200)))
            (let ((hash 2166136261) (found nil))
              (dotimes (low 256)
                (let* ((char (+ (* 256 block) low))
                       (bytes (encode-coding-string (string char) unix)))
                  ;; Emacs counts the characters behind 8135F436 wrongly, so these are left out.
                  (when (and (eq system 'chinese-gb18030) (= (length bytes) 4)) (setq bytes ""))
                  (unless (member bytes '(" " "?" "")) (setq found t))
                  (setq hash (hash-text hash bytes))))
              (when found (row system (format "%x" block) (format "%08x" hash))))))))))

(defconst malformed
  '("c3a9" "c0 80" "c1bf" "e0 80 80" "e09fbf" "ed a0 80" "eda080edb080" "edbfbf" "f0 80 80 80" "f08fbfbf"
    "f5808080" "f48fbfbf" "fe" "ff" "80" "bf" "8080" "c3" "c341" "e2 82" "e28241" "e282e282ac"
    "f09f98" "f09f9841" "f09f98e282ac" "c3c3a9" "efbfbe" "efbfbf" "efbbbf41" "41efbbbf" "00" "61 00 62"
    "e2c3a9" "f0c3a9" "e28280" "c3a9a9" "ef bb" "ef bb 41" "f09080ff" "ed9fbf" "ee8080"))
(defun bytes (hex)
  (let ((hex (replace-regexp-in-string " " "" hex)) (out nil))
    (while (> (length hex) 0)
      (push (string-to-number (substring hex 0 2) 16) out)
      (setq hex (substring hex 2)))
    (nreverse out)))
(defconst mixed
  (concat "abc \u00e9\u00df\u20ac \u0430\u0436 \u3042\u30a2\u6f22\u5b57 \uff71 \uac00\ud55c \u4e2d\u6587"
          "\n\u2014\u301c\u2016\u2212 \u00a5\\~ \U0001F600 x\n"))
(golden "texts.tsv"
  (lambda ()
    (dolist (case malformed)
      (row "utf-8" (hex (bytes case)) (written (decoded 'utf-8 (bytes case)))))
    (dolist (system (append multi-byte stateful single-byte '(utf-8 utf-16le utf-16be utf-16)))
      (let ((bytes (append (encode-coding-string mixed (unix system)) nil)))
        (row system (hex bytes) (written (decoded system bytes)))))
    (dolist (system multi-byte)
      (dolist (case '("8041" "a0a0" "ff41" "81ff" "8130" "81308130" "8130 81" "813081ff" "8e41" "8fa1"
                      "8fa141" "8fb0a1" "a141" "a1a1a1" "a1ff" "84318236" "fe39fe39" "90308130" "e3329a35"
                      "fd80" "8ea1" "8ee0" "a180" "eb40" "fc4b" "1b244224221b2842" "0e41" "0f"))
        (row system (hex (bytes case)) (written (decoded system (bytes case))))))
    (dolist (system stateful)
      (dolist (case '("1b2442242224241b284241" "1b24402422" "1b284a5c7e1b28425c" "1b2442 24" "1b24" "1b"
                      "1b2842" "1b244a41" "1b2449 2422" "1b2442 24220a2424" "1b284931" "1b2442 24ff"
                      "1b2442 ff24" "80" "a4a2" "1b2442 2100" "1b244220" "1b2442 7f7f" "1b24422921" "0e0f"
                      "1b2844 41" "1b24284422421b2842" "1b2e411b4e69" "1b2e461b4e61" "1b24412422" "1b2428433021"
                      "1b24285121211b2842" "1b24284f21211b2842" "1b24285021211b2842" "1b4e69"
                      "1b284a41" "1b2442 2422 1b" "1b2442 2422 1b28" "1b2442 2422 1b2841"))
        (row system (hex (bytes case)) (written (decoded system (bytes case))))))))

(defvar made nil)
(defun stream (system &rest reads)
  "What a process with SYSTEM delivers for READS, and its decoding system before the end."
  (let* ((path (make-temp-name (expand-file-name "golden" temporary-file-directory)))
         (text nil) (peer nil) (after nil)
         (server (make-network-process
                  :name "server" :family 'local :service path :server t :coding 'binary
                  :sentinel (lambda (p e) (when (string-prefix-p "open" e) (setq peer p)))))
         (client (make-network-process
                  :name "client" :family 'local :service path :coding system :sentinel #'ignore
                  :filter (lambda (_ s) (push (written (string-to-multibyte s)) text)))))
    (while (not peer) (accept-process-output nil 0.01))
    (dolist (read reads)
      (process-send-string peer (apply #'unibyte-string (bytes read)))
      (accept-process-output client 0.05))
    (setq after (car (process-coding-system client)))
    (delete-process peer)
    (while (eq (process-status client) 'open) (accept-process-output client 0.05))
    (delete-process server)
    (delete-file path)
    (row system (mapconcat (lambda (read) (hex (bytes read))) reads " ") (apply #'concat (nreverse text)) after)))
(golden "streams.tsv"
  (lambda ()
    (dolist (system '(utf-8 latin-1 raw-text utf-8-auto utf-8-with-signature sjis undecided))
      (dolist (reads '(("616263" "610d0a62" "630a640d0a") ("610d0a620a63" "0d0a") ("610d62" "630a640d0a")
                       ("610d620d0a" "630a640d0a") ("610d0a620d630d0a" "780a790d7a") ("610a62" "0d0a")
                       ("610a620d0a" "0d0a") ("610d620a63" "0d0a") ("610d0d0a" "0a0d0a0d") ("610d0d62" "0a0d0a0d")
                       ("0a" "0d0a") ("0d0a0d" "0a62") ("0d0a0d0a0d0a0d0a0a" "0d0a") ("0a0d0a0d0a0d0a" "0d0a")
                       ("610d0a620d" "630a")))
        (apply #'stream system reads)))
    (dolist (system '(utf-8-dos utf-8-mac utf-8-unix latin-1-dos binary no-conversion raw-text-dos
                      no-conversion-multibyte us-ascii-dos))
      (dolist (reads '(("610d" "0a620d" "0d" "0a0d" "630d") ("610d0a620a63" "0d0a") ("e90d" "0a")))
        (apply #'stream system reads)))
    (dolist (system '(utf-8 utf-8-auto utf-8-with-signature undecided prefer-utf-8))
      (dolist (reads '(("efbbbf78" "efbbbf79") ("ef" "bb" "bf78") ("ef" "bb" "78") ("78" "efbbbf78")
                       ("efbbbfefbbbf78") ("c3" "a9c3a9") ("e2" "82" "ac") ("f09f" "9880") ("e2" "82" "41") ("efbb")))
        (apply #'stream system reads)))
    (dolist (system '(utf-16 utf-16le utf-16be utf-16le-with-signature utf-16be-with-signature))
      (dolist (reads '(("fffe7800" "79" "00" "fffe") ("ff" "fe7800" "79" "00") ("feff0078" "00" "79" "feff")
                       ("fe" "ff0078" "feff") ("0078" "0079000d000a007a") ("7800" "79000d000a007a00")
                       ("3dd8" "00de7a00") ("d83d" "de00007a")))
        (apply #'stream system reads)))
    (dolist (reads '(("6361660d0a" "c3a9") ("636166c3" "a92078") ("636166e90d0a" "c3a9") ("feff0078" "0079")
                     ("fffe7800" "7900") ("610062" "c3a9") ("80" "81ff" "c3a9") ("8081ff" "c3a9")))
      (apply #'stream 'undecided reads)
      (apply #'stream 'prefer-utf-8 reads))
    (dolist (case '((sjis "82" "a0") (euc-jp "a4" "a2") (euc-jp "8f" "b0" "a1") (euc-kr "b0" "a1") (big5 "a4" "40")
                    (gb18030 "81" "30" "81" "30") (gb18030 "81" "30" "81" "41") (gbk "81" "40") (sjis "82")
                    (gb18030 "813081") (iso-2022-jp "1b" "24" "4224" "22" "2424" "1b" "284278")
                    (iso-2022-jp "1b24422422" "1b") (iso-2022-jp "1b24422422" "0a2424")
                    (latin-1 "e9") (us-ascii "61e9") (utf-8 "80" "61") (utf-8 "61ff" "62")))
      (apply #'stream case))))
