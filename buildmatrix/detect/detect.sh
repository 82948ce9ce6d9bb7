#!/bin/sh
# Says whether programs of @RELEASE@ on this host are struck by the cause @CAUSE@.
#
# usage: this script [FILE ...]; without FILE, the usual places of the release's programs are looked at.
# Needs a POSIX shell and coreutils, and sed for the versions of C libraries. Nothing is executed but these, nothing
# is written. What cannot be found out is said to be so.
#
# One line of JSON for each file: schema, cause, release, file, affected (true, false, null where it cannot be told),
# reason, artifact (the cell, or null), identified (sha256, build-id, go-build-id, fixed, none), machine, page_size,
# libc. Bytes that are not printable ASCII are shown as "?".
#
# exit status: 0 not affected, or nothing of it installed; 1 affected; 2 cannot tell; 3 usage.
# Of several files, affected counts before cannot tell.
set -u
LC_ALL=C
export LC_ALL

cause='@CAUSE@'
release='@RELEASE@'
# One artifact a line: cell | class and e_machine | sha256 | size | GNU build id | Go build id | what uname may say |
# what it may say where the userland shows that such programs run | page sizes | CPU words | version needs |
# library folders
artifacts='@ARTIFACTS@'
# SHA-256 of files in which the cause was removed.
fixed='@FIXED@'
# Where to look, and the loaders of either C library by name.
places='@PLACES@'
loaders='@LOADERS@'

newline='
'

# Sets text to "$1" as a JSON string.
quote() {
  rest=$1
  text=
  while [ -n "$rest" ]; do
    tail=${rest#?}
    letter=${rest%"$tail"}
    case $letter in
      '"' | \\) text="$text\\$letter" ;;
      [' '-'~']) text=$text$letter ;;
      *) text="$text?" ;;
    esac
    rest=$tail
  done
  text="\"$text\""
}

# Sets bytes to "$3" bytes of file "$1" from "$2" on, in decimal.
peek() {
  bytes=$(od -An -v -tu1 -j "$2" -N "$3" "$1" 2>/dev/null) || bytes=
}

# Sets value to the number in the given bytes.
number() {
  value=0
  scale=1
  if [ "$order" = big ]; then
    for byte in "$@"; do value=$((value * 256 + byte)); done
  else
    for byte in "$@"; do
      value=$((value + byte * scale))
      scale=$((scale * 256))
    done
  fi
}

# Sets found to class and e_machine of an ELF file, order to its byte order.
identify() {
  found=
  peek "$1" 0 20
  # shellcheck disable=SC2086  # words are wanted
  set -- $bytes
  [ $# -eq 20 ] && [ "$1 $2 $3 $4" = '127 69 76 70' ] || return 1
  if [ "$6" = 2 ]; then order=big; else order=little; fi
  class=$5
  number "${19}" "${20}"
  found="$class $value"
}

# Sets name to the string of "$3" bytes at "$2" in "$1", without the NUL at its end.
string() {
  name=$(dd if="$1" bs=1 skip="$2" count=$(($3 - 1)) 2>/dev/null)
}

# Sets build_id, go_id and interpreter from the program headers. Sizes that a file claims are capped.
read_headers() {
  build_id=
  go_id=
  interpreter=
  identify "$1" || return 1
  if [ "$class" = 2 ]; then peek "$1" 32 26; else peek "$1" 28 18; fi
  # shellcheck disable=SC2086
  set -- "$1" $bytes
  file=$1
  if [ "$class" = 2 ]; then
    [ $# -eq 27 ] || return 1
    number "$2" "$3" "$4" "$5" "$6" "$7" "$8" "$9"
    table=$value
    number "${24}" "${25}"
    step=$value
    number "${26}" "${27}"
  else
    [ $# -eq 19 ] || return 1
    number "$2" "$3" "$4" "$5"
    table=$value
    number "${16}" "${17}"
    step=$value
    number "${18}" "${19}"
  fi
  count=$value
  [ "$count" -le 512 ] && [ "$step" -ge 32 ] && [ "$table" -ge 0 ] || return 1
  while [ "$count" -gt 0 ]; do
    read_header "$file" "$table"
    table=$((table + step))
    count=$((count - 1))
  done
}

read_header() {
  peek "$1" "$2" 56
  # shellcheck disable=SC2086
  set -- "$1" $bytes
  [ $# -ge 33 ] || return 0
  number "$2" "$3" "$4" "$5"
  kind=$value
  case $kind in
    3 | 4) ;;
    *) return 0 ;;
  esac
  if [ "$class" = 2 ]; then
    [ $# -eq 57 ] || return 0
    number "${10}" "${11}" "${12}" "${13}" "${14}" "${15}" "${16}" "${17}"
    offset=$value
    number "${34}" "${35}" "${36}" "${37}" "${38}" "${39}" "${40}" "${41}"
  else
    number "$6" "$7" "$8" "$9"
    offset=$value
    number "${18}" "${19}" "${20}" "${21}"
  fi
  size=$value
  [ "$offset" -ge 0 ] && [ "$size" -gt 1 ] || return 0
  if [ "$kind" = 3 ]; then
    [ "$size" -gt 4096 ] || { string "$1" "$offset" "$size" && interpreter=$name; }
  else
    [ "$size" -gt 16384 ] || read_notes "$1" "$offset" "$size"
  fi
}

# Notes: sizes of name and content, a type, the name, the content; each at a multiple of four (gABI, "Note Section").
read_notes() {
  at=$2
  end=$(($2 + $3))
  while [ $((end - at)) -ge 16 ]; do
    read_note "$1" "$at" || return 0
    at=$next
  done
}

read_note() {
  peek "$1" "$2" 16
  # shellcheck disable=SC2086
  set -- "$1" "$2" $bytes
  [ $# -eq 18 ] || return 1
  number "$3" "$4" "$5" "$6"
  name_size=$value
  number "$7" "$8" "$9" "${10}"
  size=$value
  number "${11}" "${12}" "${13}" "${14}"
  [ "$name_size" -le 4096 ] && [ "$size" -le 16384 ] || return 1
  start=$(($2 + 12 + (name_size + 3) / 4 * 4))
  next=$((start + (size + 3) / 4 * 4))
  case "$value $name_size ${15} ${16} ${17} ${18}" in
    '3 4 71 78 85 0')
      for byte in $(od -An -v -tx1 -j "$start" -N "$size" "$1" 2>/dev/null); do build_id=$build_id$byte; done
      ;;
    '4 4 71 111 0 0') string "$1" "$start" $((size + 1)) && go_id=$name ;;
  esac
}

# Sets digest; empty where nothing here computes SHA-256.
hash_of() {
  digest=
  for hasher in sha256sum 'busybox sha256sum' 'shasum -a 256' 'openssl dgst -sha256 -r'; do
    command -v "${hasher%% *}" >/dev/null 2>&1 || continue
    # shellcheck disable=SC2086
    digest=$($hasher <"$1" 2>/dev/null) && digest=${digest%% *} && [ ${#digest} -eq 64 ] && return 0
    digest=
  done
}

# Sets the fields of one artifact that its judgement needs.
take() {
  cell=$1 identity=$2 bytes_expected=$4
  kernels=$7 compatible=$8 pages=$9
  shift 9
  words=$1 needs=$2 folders=$3
}

# Sets identified, and the fields of the artifact that the file is.
recognise() {
  hash_of "$1"
  identified=none
  case " $fixed " in
    *" ${digest:-none} "*)
      identified=fixed
      return 0
      ;;
  esac
  for how in sha256 build-id go-build-id; do
    while IFS='|' read -r a b c d e f g h i j k l; do
      [ -n "$a" ] || continue
      case $how in
        sha256) pair=$digest:$c ;;
        build-id) pair=$build_id:$e ;;
        *) pair=$go_id:$f ;;
      esac
      if [ "${pair%%:*}" = '' ] || [ "${pair%%:*}" != "${pair#*:}" ]; then continue; fi
      take "$a" "$b" "$c" "$d" "$e" "$f" "$g" "$h" "$i" "$j" "$k" "$l"
      identified=$how
      return 0
    done <<END
$artifacts
END
  done
}

# The fields that belong to a machine rather than to an artifact, for a file that is not recognised.
suppose() {
  while IFS='|' read -r a b c d e f g h i j k l; do
    if [ "$b" = "$found" ]; then
      take "$a" "$b" "$c" "$d" "$e" "$f" "$g" "$h" "$i" "$j" "$k" "$l"
      return 0
    fi
  done <<END
$artifacts
END
  return 1
}

# AT_PAGESZ is the sixth kind of entry in the auxiliary vector (elf.h), whose words are as wide as od's own.
page_size() {
  page=$(getconf PAGESIZE 2>/dev/null) || page=
  case $page in
    '' | *[!0-9]*) page= ;;
    *) return 0 ;;
  esac
  identify /proc/self/exe || return 0
  if [ "$class" = 2 ]; then width=8; else width=4; fi
  # shellcheck disable=SC2046
  set -- $(od -An -v -tu$width /proc/self/auxv 2>/dev/null)
  while [ $# -ge 2 ]; do
    if [ "$1" = 6 ]; then
      page=$2
      return 0
    fi
    shift 2
  done
}

# Sets have to the words of /proc/cpuinfo for the first processor; empty where there are none.
cpu_words() {
  have=
  [ -r /proc/cpuinfo ] || return 0
  while read -r key rest; do
    case $key in
      flags | Features | Features:)
        have=" ${rest#:} "
        return 0
        ;;
    esac
  done </proc/cpuinfo
}

# Sets path to a library of that name for this machine; empty where none is found.
library() {
  for folder in $folders; do
    case $folder in
      %ORIGIN*) folder=${target%/*}${folder#%ORIGIN} ;;
    esac
    path=$folder/$1
    if [ -f "$path" ] && identify "$path" && [ "$found" = "$identity" ]; then return 0; fi
  done
  path=
  if [ -r /etc/ld.so.cache ] && command -v sed >/dev/null 2>&1; then
    for path in $(tr '\0' '\n' </etc/ld.so.cache | sed -n "s|^\\(/.*/$1\\)\$|\\1|p"); do
      if [ -f "$path" ] && identify "$path" && [ "$found" = "$identity" ]; then return 0; fi
    done
  fi
  path=
  return 1
}

# Sets libc to the C library of this machine and its version, read from its bytes.
libc_version() {
  libc=
  command -v sed >/dev/null 2>&1 || return 0
  if library libc.so.6; then
    libc=$(tr '\0' '\n' <"$path" | sed -n 's/.*GNU C Library.*release version \([0-9]*\.[0-9]*\).*/glibc \1/p')
    libc=${libc%%"$newline"*}
  fi
  [ -z "$libc" ] || return 0
  for path in $loaders; do
    case $path in
      *ld-musl*) ;;
      *) continue ;;
    esac
    if [ -f "$path" ] && identify "$path" && [ "$found" = "$identity" ]; then
      libc=$(tr '\0' '\n' <"$path" | sed -n 's/^\([0-9][0-9]*\.[0-9][0-9]*\.[0-9][0-9]*\)$/musl \1/p')
      libc=${libc%%"$newline"*}
      return 0
    fi
  done
}

yes() {
  verdict=true
  reason=$*
}

no() {
  verdict=false
  reason=$*
}

unknown() {
  verdict=null
  reason=$*
}

judge_machine() {
  identify "$target" || {
    unknown 'the file is no ELF file, or cannot be read'
    return 0
  }
  suppose || {
    yes "the file is for ELF class and machine $found, which no artifact of the release is"
    return 0
  }
  case " $kernels " in
    *" $machine "*) no "the file is for this machine" ;;
    *)
      case " $compatible " in
        *" $machine "*)
          identify /proc/self/exe || identify "$(command -v od)" || found=
          if [ "$found" = "$identity" ]; then
            no "the kernel is $machine, and the userland shows that it runs such programs"
          else
            unknown "whether this kernel ($machine) runs 32-bit programs"
          fi
          ;;
        *) yes "the file is for another machine (kernels: $kernels) than this one" ;;
      esac
      ;;
  esac
}

judge_loader() {
  read_headers "$target" || {
    unknown 'the file is no ELF file, or cannot be read'
    return 0
  }
  identity=$found
  if [ -z "$interpreter" ]; then
    no 'the file asks for no loader'
  elif [ ! -e "$interpreter" ]; then
    other=
    for path in $loaders; do
      if [ -e "$path" ]; then other=" (the host has $path)"; fi
    done
    yes "the loader $interpreter is not there$other"
  elif ! identify "$interpreter"; then
    yes "the loader $interpreter is no ELF file, or cannot be read"
  elif [ "$found" != "$identity" ]; then
    yes "the loader $interpreter is for another machine (ELF class and machine $found, expected $identity)"
  else
    no "the loader $interpreter is there"
  fi
}

judge_pages() {
  if [ -z "$page" ]; then
    unknown 'the page size: no getconf, and no /proc/self/auxv'
    return 0
  fi
  case " $pages " in
    *" $page "*) no "the file can be mapped with pages of $page bytes" ;;
    *) yes "the file can be mapped with pages of $pages bytes only, and the kernel's have $page" ;;
  esac
}

judge_cpu() {
  if [ -z "$words" ]; then
    no 'the file needs no more than the first CPU of its kind has'
    return 0
  fi
  cpu_words
  if [ -z "$have" ]; then
    unknown 'what the CPU can do: /proc/cpuinfo does not say'
    return 0
  fi
  lacking=
  for word in $words; do
    case $have in
      *" $word "*) ;;
      *) lacking="$lacking $word" ;;
    esac
  done
  if [ -n "$lacking" ]; then yes "the CPU lacks$lacking"; else no 'the CPU has what the file needs'; fi
}

# A library's version definitions are strings in it (LSB Core, Symbol Versioning).
judge_versions() {
  command -v sed >/dev/null 2>&1 || {
    unknown 'versions of libraries: there is no sed'
    return 0
  }
  no 'the libraries define the versions that the file needs'
  for need in $needs; do
    case $1:$need in
      *:) continue ;;
      libstdcxx-too-old:libstdc++*) ;;
      libstdcxx-too-old:* | glibc-too-old:libstdc++* | glibc-too-old:libgcc*) continue ;;
    esac
    library "${need%%:*}" || {
      unknown "${need%%:*} is in none of the usual folders"
      return 0
    }
    defined=$(tr '\0' '\n' <"$path" | sed -n '/^[A-Z][A-Z]*_[0-9.]*$/p')
    case "$newline$defined$newline" in
      *"$newline${need#*:}$newline"*) ;;
      *)
        yes "$path does not define ${need#*:}"
        return 0
        ;;
    esac
  done
}

judge_libraries() {
  no 'the libraries that the file names are there'
  for need in $needs; do
    need=${need%%:*}
    library "$need" && continue
    if [ -e "${target%/*}/$need" ] || [ -n "${LD_LIBRARY_PATH:-}" ] || ! command -v sed >/dev/null 2>&1; then
      unknown "$need is in none of the usual folders; it may be found elsewhere"
    else
      yes "there is no $need for this machine in the usual folders, nor in ld.so.cache"
      return 0
    fi
  done
}

judge_mount() {
  folder=$(CDPATH='' cd -- "$(dirname -- "$target")" 2>/dev/null && pwd -P) || folder=
  if [ -z "$folder" ] || [ ! -r /proc/self/mounts ]; then
    unknown 'how the folder is mounted: /proc/self/mounts cannot be read'
    return 0
  fi
  best=
  options=
  while read -r _ mount _ flags _; do
    # bash does not take "${mount%/}"/* for a pattern that matches where the expansion is empty.
    prefix=${mount%/}
    case ${folder%/}/ in
      "$prefix"/*)
        if [ ${#mount} -ge ${#best} ]; then
          best=$mount
          options=$flags
        fi
        ;;
    esac
  done </proc/self/mounts
  case ,$options, in
    *,noexec,*) yes "$best is mounted noexec" ;;
    ,,) unknown "how $folder is mounted" ;;
    *) no "$best is not mounted noexec" ;;
  esac
}

judge_size() {
  actual=$(wc -c <"$target") || actual=
  actual=$((actual))
  if [ "$identified" = sha256 ]; then
    no 'the file is whole'
  elif [ "$actual" -lt "$bytes_expected" ]; then
    yes "the file has $actual bytes, expected $bytes_expected"
  else
    unknown "the file was altered: $actual bytes, expected $bytes_expected"
  fi
}

judge() {
  case $cause in
    wrong-machine)
      judge_machine
      return 0
      ;;
    missing-interpreter | bad-interpreter | wrong-libc)
      judge_loader
      return 0
      ;;
    no-exec-permission)
      if [ -x "$target" ]; then no 'the file may be executed'; else yes 'nobody may execute the file'; fi
      return 0
      ;;
    noexec-mount)
      judge_mount
      return 0
      ;;
  esac
  # From here on the release says what the file needs; for another file nobody has said it.
  case $identified in
    none)
      unknown 'the file is none of the release, nor one that was fixed'
      return 0
      ;;
    fixed)
      no 'the file is one in which the cause was removed'
      return 0
      ;;
  esac
  case $cause in
    bad-release) yes "the file is of $release" ;;
    page-size) judge_pages ;;
    isa-level) judge_cpu ;;
    glibc-too-old | libstdcxx-too-old | symbol-version-missing) judge_versions "$cause" ;;
    missing-library) judge_libraries ;;
    truncated) judge_size ;;
    *) unknown 'this script knows no such cause' ;;
  esac
}

show() {
  quote "$target"
  line="{\"schema\":1,\"cause\":\"$cause\",\"release\":\"$release\",\"file\":$text,\"affected\":$verdict"
  quote "$reason"
  line="$line,\"reason\":$text,\"artifact\":"
  case $identified in
    none | fixed) line="${line}null" ;;
    *) line="$line\"$cell\"" ;;
  esac
  quote "$machine"
  line="$line,\"identified\":\"$identified\",\"machine\":$text,\"page_size\":${page:-null},\"libc\":"
  if [ -n "$libc" ]; then line="$line\"$libc\""; else line="${line}null"; fi
  printf '%s}\n' "$line"
}

status=0
worse() {
  case $verdict$status in
    true*) status=1 ;;
    null0) status=2 ;;
  esac
}

look() {
  target=$1
  identified=none
  cell='' identity='' bytes_expected=0 kernels='' compatible='' pages='' words='' needs='' folders=''
  libc=
  if [ ! -r "$target" ] || [ ! -f "$target" ]; then
    unknown 'the file cannot be read'
  elif [ -z "$machine" ] || ! command -v od >/dev/null 2>&1; then
    unknown 'there is no uname or no od'
  else
    read_headers "$target" || :
    recognise "$target"
    if [ -n "$identity" ] || { identify "$target" && suppose; }; then libc_version; fi
    judge
  fi
  show
  worse
}

for word in "$@"; do
  case $word in
    -*)
      printf 'usage: %s [FILE ...]\n' "${0##*/}" >&2
      exit 3
      ;;
  esac
done
machine=$(uname -m 2>/dev/null) || machine=
page_size
if [ $# -gt 0 ]; then
  for word in "$@"; do look "$word"; done
  exit "$status"
fi
seen=
for word in $places; do
  if [ -e "$word" ]; then
    seen=yes
    look "$word"
  fi
done
if [ -z "$seen" ]; then
  target='' identified=none libc=''
  no 'nothing of the release is in the usual places'
  show
fi
exit "$status"
