#!/bin/sh
# Runs the named programs one after another; a START and an END line for each. What the kernel complained of comes last.
text=/bench/text

begin() {
  [ -f $text ] || /bench/work text >$text
  /bench/work start "$1"
}

finish() {
  echo
  echo "END $1 $2"
}

# Kernel messages must not fall between the marks.
dmesg -n 1
for name; do
  case $name in
    sha256)
      begin sha256
      finish sha256 "$(cat $text $text $text $text | busybox sha256sum | cut -c 1-16)"
      ;;
    gzip)
      begin gzip
      finish gzip "$(busybox gzip -c <$text | busybox md5sum | cut -c 1-16)"
      ;;
    awk)
      begin awk
      finish awk "$(head -n 10000 $text | busybox awk '{ for (i = 1; i <= NF; i++) { n[$i]++; s += length($i) } } END { for (w in n) c += n[w] * length(w); print NR "-" s "-" c }')"
      ;;
    *) /bench/work "$name" || finish "$name" "failed-with-status-$?" ;;
  esac
done
dmesg | grep -iE 'oops|bug:|segfault|traps:|general protection|stalls|lockup|unstable|blocked for' | head -n 8 | sed 's/^/REMARK /'
echo "ALL DO""NE"
