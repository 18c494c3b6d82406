;;; cuts.el --- Asks Emacs about random streams and about streams cut in two  -*- lexical-binding: t -*-
;;
;; LC_ALL=C.UTF-8 emacs -Q --batch -l cuts.el     (Emacs 28.2; under a minute)
;;
;; random.tsv  system with line end, bytes in hexadecimal, text of all of them: for every system
;;             that is not refused, random bytes and the encoding of random text
;; cuts.tsv    system, two reads, what came after the first, after the second and at the end, through
;;             a real process, and the text of both as one string; every place of a stream is a cut once
;;
;; Texts are written as in make.el.  A stream with characters that exist in Emacs only is drawn anew.
;; The systems that Emacs reads in Lisp, UTF-7 and HZ, are given ASCII alone (beyond it they read
;; UTF-8), and may signal an error; the text is then `error'.

(defconst systems
  '(adobe-standard-encoding chinese-big5 chinese-big5-hkscs chinese-gb18030 chinese-gbk chinese-hz
    chinese-iso-8bit cp1125 cp437 cp737 cp775 cp850 cp851 cp852 cp855 cp857 cp858 cp860 cp861 cp862
    cp863 cp865 cp866 cp869 cp874 cyrillic-alternativnyj cyrillic-iso-8bit cyrillic-koi8
    euc-jis-2004 eucjp-ms georgian-academy georgian-ps greek-iso-8bit hebrew-iso-8bit hp-roman8
    iso-2022-jp iso-2022-jp-2 iso-2022-jp-2004 iso-8859-11 iso-8859-6 iso-latin-1 iso-latin-10
    iso-latin-2 iso-latin-3 iso-latin-4 iso-latin-5 iso-latin-6 iso-latin-7 iso-latin-8 iso-latin-9
    japanese-cp932 japanese-iso-7bit-1978-irv japanese-iso-8bit japanese-shift-jis
    japanese-shift-jis-2004 koi8-t koi8-u korean-cp949 korean-iso-8bit lao mac-roman mik next
    no-conversion no-conversion-multibyte pt154 raw-text thai-tis620 us-ascii utf-16 utf-16be
    utf-16be-with-signature utf-16le utf-16le-with-signature utf-7 utf-7-imap utf-8 utf-8-auto
    utf-8-emacs utf-8-with-signature vietnamese-tcvn vietnamese-viscii vietnamese-vscii
    windows-1250 windows-1251 windows-1252 windows-1253 windows-1254 windows-1255 windows-1256
    windows-1257 windows-1258))
(defconst structured
  '(chinese-big5 chinese-big5-hkscs chinese-gb18030 chinese-gbk chinese-hz chinese-iso-8bit
    euc-jis-2004 eucjp-ms iso-2022-jp iso-2022-jp-2 iso-2022-jp-2004 japanese-cp932
    japanese-iso-7bit-1978-irv japanese-iso-8bit japanese-shift-jis japanese-shift-jis-2004
    korean-cp949 korean-iso-8bit utf-16 utf-16be utf-16be-with-signature utf-16le
    utf-16le-with-signature utf-7 utf-7-imap utf-8 utf-8-auto utf-8-emacs utf-8-with-signature))

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
(defun bytes (hex)
  (let (out)
    (dotimes (i (/ (length hex) 2)) (push (string-to-number (substring hex (* 2 i) (* 2 (1+ i))) 16) out))
    (nreverse out)))
(defun row (&rest fields) (insert (mapconcat (lambda (field) (format "%s" field)) fields "\t") "\n"))
(defun golden (name writer)
  (let ((coding-system-for-write 'utf-8-unix))
    (with-temp-file name (funcall writer))))

(defvar state 1)
(defun draw (below)
  (setq state (logand (+ (* state 1664525) 1013904223) #xffffffff))
  (/ (* (ash state -8) below) #x1000000))
(defun pick (list) (nth (draw (length list)) list))

(defun with-end (system index)
  "SYSTEM with its line end number INDEX, if it has any."
  (if (vectorp (coding-system-eol-type system))
      (intern (format "%s-%s" system (nth (% index 3) '(unix dos mac))))
    system))
(defun decoded (system bytes)
  (condition-case nil
      (string-to-multibyte (decode-coding-string (apply #'unibyte-string bytes) system))
    (error 'error)))
(defun foreign (text)
  (and (stringp text) (seq-find (lambda (char) (and (> char #x10ffff) (< char #x3fff80))) text)))

(defconst pieces
  '("1b2442" "1b2842" "1b284a" "1b2440" "1b2e41" "1b4e61" "1b242844" "7e7b" "7e7d" "7e7e" "2b414f6b2d" "2b2d"
    "26414f6b2d" "262d" "efbbbf" "fffe" "feff" "81308130" "8130" "0d0a" "0d" "0a" "e282ac" "f09f9880" "d83dde00"
    "3dd800de" "8ea1" "8fb0a1" "a4a2" "82a0" "d6d0"))
(defun fitting (system index bytes)
  "BYTES less what would only show how SYSTEM fails: see above, and half a unit of UTF-16 at the end."
  (cond ((memq system '(utf-7 utf-7-imap chinese-hz)) (seq-filter (lambda (byte) (< byte 128)) bytes))
        ((and (string-prefix-p "utf-16" (symbol-name system)) (> (% index 3) 0) (= (% (length bytes) 2) 1))
         (butlast bytes))
        (t bytes)))
(defun random-bytes (system index)
  (let (out)
    (when (zerop (draw 4)) (push (bytes (pick '("feff" "fffe" "efbbbf"))) out))
    (dotimes (_ (+ 4 (draw 12)))
      (push (let ((kind (draw 12)))
              (cond ((< kind 3) (list (draw 256)))
                    ((< kind 5) (list (+ #x81 (draw #x7e))))
                    ((< kind 7) (list (+ #x30 (draw #x4f))))
                    ((< kind 8) (list (pick '(13 10 27 126 43 38))))
                    (t (bytes (pick pieces)))))
            out))
    (fitting system index (apply #'append (nreverse out)))))

(defconst ranges
  '((#xa0 . #x17f) (#x391 . #x3c9) (#x401 . #x45f) (#x5d0 . #x5ea) (#x621 . #x64a) (#xe01 . #xe3a) (#xe81 . #xeae)
    (#x10d0 . #x10f0) (#x1ea0 . #x1ef9) (#x2010 . #x2030) (#x2500 . #x2570) (#x3041 . #x30fe) (#x4e00 . #x9fa0)
    (#xac00 . #xd7a3) (#xff61 . #xff9f) (#x10000 . #x10080) (#x1f600 . #x1f640) (#x20000 . #x20200)))
(defun pool (unix)
  "Characters that come back when encoded in UNIX."
  (let (out)
    (dotimes (_ 600)
      (let* ((range (pick ranges)) (char (+ (car range) (draw (- (cdr range) (car range)))))
             (bytes (append (encode-coding-string (string char) unix) nil)))
        (when (equal (decoded unix bytes) (string char)) (push char out))))
    (or out '(?x))))
(defun random-text (pool)
  (let (out)
    (dotimes (_ (+ 6 (draw 8)))
      (push (let ((kind (draw 10)))
              (cond ((< kind 6) (string (pick pool)))
                    ((< kind 8) (string (+ 32 (draw 95))))
                    (t (pick '("\n" "\r" "\r\n")))))
            out))
    (apply #'concat (nreverse out))))

(golden "random.tsv"
  (lambda ()
    (dolist (system systems)
      (setq state (+ 7 (* 31 (length (memq system systems)))))
      (let ((unix (with-end system 0))
            (rows (if (memq system structured) 9 3))
            pool)
        (dotimes (index rows)
          (let* ((asked (with-end system index)) (bytes (random-bytes system index)) (text (decoded asked bytes)))
            (while (foreign text) (setq bytes (random-bytes system index) text (decoded asked bytes)))
            (row asked (hex bytes) (if (stringp text) (written text) text))))
        (setq pool (pool unix))
        (dotimes (index rows)
          (let* ((asked (with-end system index))
                 (bytes (append (encode-coding-string (random-text pool) unix) nil))
                 (text (decoded asked bytes)))
            (row asked (hex bytes) (if (stringp text) (written text) text))))))))

(defun cut (system first second)
  (let* ((path (make-temp-name (expand-file-name "golden" temporary-file-directory)))
         (text "") (peer nil) (seen nil)
         (server (make-network-process
                  :name "server" :family 'local :service path :server t :coding 'binary
                  :sentinel (lambda (p e) (when (string-prefix-p "open" e) (setq peer p)))))
         (client (make-network-process
                  :name "client" :family 'local :service path :coding system :sentinel #'ignore
                  :filter (lambda (_ s) (setq text (concat text (written (string-to-multibyte s))))))))
    (while (not peer) (accept-process-output nil 0.01))
    (dolist (read (list first second))
      (process-send-string peer (apply #'unibyte-string read))
      (condition-case nil
          (progn (accept-process-output client 0.03) (accept-process-output client 0.01))
        (error (setq text "error")))
      (push text seen)
      (setq text ""))
    (delete-process peer)
    (condition-case nil
        (while (eq (process-status client) 'open) (accept-process-output client 0.03))
      (error (setq text "error")))
    (delete-process client)
    (delete-process server)
    (delete-file path)
    (row system (concat (hex first) " " (hex second)) (cadr seen) (car seen) text
         (written (decoded system (append first second))))))

(golden "cuts.tsv"
  (lambda ()
    (dolist (case '((utf-8-unix . "41c3a9e282acf09f98800d0a") (utf-8-dos . "c3a90d0a0d0d0a410d")
                    (utf-8-mac . "c3a90d0a0d0d0a41") (utf-8-unix . "41e28241f09f98ff80c3")
                    (utf-8-with-signature-dos . "efbbbfefbbbf410d0a") (iso-latin-1-dos . "e90d0a0d410d")
                    (iso-latin-1-mac . "e90d0a0d41") (us-ascii-dos . "e90d0a410d") (raw-text-dos . "e90d0a0d410d")
                    (no-conversion . "e90d0aff") (windows-1252-unix . "80819f41")
                    (japanese-shift-jis-dos . "82a0b10d0a8141") (japanese-iso-8bit-unix . "a4a28eb18fb0a141a4")
                    (japanese-cp932-unix . "82a087408141ff") (korean-iso-8bit-dos . "b0a10d0ab041")
                    (korean-cp949-unix . "8141b0a181ff") (chinese-big5-unix . "a440a4a1a441a1")
                    (chinese-big5-hkscs-unix . "88628856a440") (chinese-gbk-unix . "8140d6d081ff")
                    (chinese-gb18030-unix . "81308130903081308135f433d6d0") (chinese-iso-8bit-unix . "d6d0d641")
                    (euc-jis-2004-unix . "a4a28fa1a1a4f3") (eucjp-ms-unix . "adb08ff3f38ea1")
                    (iso-2022-jp-unix . "1b2442242224241b2842610a1b284a5c1b2842")
                    (iso-2022-jp-dos . "1b24422422240d0a1b2842") (iso-2022-jp-2-unix . "1b2e411b4e691b24284330211b2842")
                    (japanese-iso-7bit-1978-irv-unix . "1b244024221b284a41")
                    (utf-16-unix . "feff004100e9d83dde00") (utf-16-dos . "fffe4100e9000d000a00") (utf-16-unix . "004100e9")
                    (utf-16be-dos . "004100e9000d000a000d0041") (utf-16le-mac . "4100e9000d000a00")
                    (utf-16be-with-signature-unix . "feff0041feff") (utf-16le-with-signature-dos . "fffe41000d000a00")
                    (utf-7-unix . "612b414f6b2d622b2d") (utf-7-dos . "2b41476b2d0d0a") (utf-7-imap-unix . "26414f6b2d61262d")
                    (chinese-hz-unix . "617e7b56504e447e7d627e7e") (chinese-hz-dos . "7e7b56507e7d0d0a")))
      (let ((bytes (bytes (cdr case))))
        (dotimes (before (1- (length bytes)))
          (cut (car case) (seq-take bytes (1+ before)) (seq-drop bytes (1+ before))))))))
