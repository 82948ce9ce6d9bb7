#!/bin/sh
# Puts @NAME@ @VERSION@ for @MACHINE@ in place of the version that is installed.
#
# Needs a POSIX shell and coreutils. Everything is verified before anything is touched: the bundle against the
# digests below, the machine, the place. The swap is one rename, so that a host which loses power has either the
# old version or the new one; run the script again to finish. What was replaced is kept.
#
# exit status: 0 done, already done, or a dry run that found nothing wrong; 1 refused, nothing was changed;
# 2 usage; 3 a tool is missing, nothing was changed; 4 could not be written, nothing was changed;
# 5 what was put in place is not readable as it was written, and the old version was put back.
set -u
LC_ALL=C
export LC_ALL
umask 022

name='@NAME@'
version='@VERSION@'
machine='@MACHINE@'
# What `uname -m` may say; what it may say where the userland shows that such programs run; class and e_machine.
kernels='@KERNELS@'
compatible='@COMPATIBLE@'
identity='@IDENTITY@'
# The loaders that programs in here ask for; none where they are static.
loaders='@LOADERS@'
# file: one program, swapped by renaming it. tree: a folder for each version, and a link that is swapped.
unit='@UNIT@'
payload='@PAYLOAD@'
programs='@PROGRAMS@'
# SHA-256 of the file SHA256SUMS beside this script, which lists everything else, and of the one program.
sums='@SUMS@'
wanted='@WANTED@'
to='@TO@'
dry=
scratch=

say() {
  printf '%s\n' "$*"
}

stop() {
  code=$1
  shift
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit "$code"
}

usage() {
  say "usage: ${0##*/} [--dry-run] [--to PATH]"
  say "  --dry-run  verify everything, say what would be done, and change nothing"
  case $unit in
    file) say "  --to DIR   the folder that $name is installed in (default: $to)" ;;
    *) say "  --to LINK  the symbolic link that names the version in use (default: $to)" ;;
  esac
}

tidy() {
  if [ -n "$scratch" ]; then
    rm -rf "$scratch" "$scratch.kept"
  fi
}

need() {
  for program in "$@"; do
    command -v "$program" >/dev/null 2>&1 || stop 3 "there is no $program on PATH; nothing was changed"
  done
}

# Which program computes SHA-256: chosen by the digest of three known bytes, so that none is believed by its name.
find_hasher() {
  for hasher in sha256sum 'busybox sha256sum' 'shasum -a 256' 'openssl dgst -sha256 -r'; do
    command -v "${hasher%% *}" >/dev/null 2>&1 || continue
    # shellcheck disable=SC2086  # a program and its options
    answer=$(printf abc | $hasher 2>/dev/null)
    case $answer in
      ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad*) return 0 ;;
    esac
  done
  stop 3 "no program computes SHA-256 here (tried sha256sum, busybox, shasum, openssl): nothing can be verified," \
    "nothing was changed"
}

# Sets digest; empty where the file cannot be read.
hash_of() {
  # shellcheck disable=SC2086  # a program and its options
  digest=$($hasher <"$1" 2>/dev/null) || digest=
  digest=${digest%% *}
}

# Sets found to the class and e_machine of an ELF file, as in "2 62".
identify() {
  # shellcheck disable=SC2046  # words are wanted
  set -- $(od -An -v -tu1 -N20 "$1" 2>/dev/null)
  found=
  [ $# -eq 20 ] && [ "$1 $2 $3 $4" = '127 69 76 70' ] || return 1
  if [ "$6" = 1 ]; then found="$5 $((${19} + 256 * ${20}))"; else found="$5 $((${20} + 256 * ${19}))"; fi
}

check_machine() {
  kernel=$(uname -m) || stop 3 "uname gives no answer; nothing was changed"
  # od opens /proc/self/exe itself: what it finds there is its own file, and so what the userland is made of.
  identify /proc/self/exe || identify "$(command -v od)" || found=unknown
  case " $kernels " in
    *" $kernel "*) ;;
    *)
      case " $compatible " in
        *" $kernel "*)
          [ "$found" = "$identity" ] || stop 1 "wrong machine: this is for $machine; the kernel is $kernel, and" \
            "nothing shows that it runs such programs (the userland is ELF class and machine $found," \
            "expected $identity); nothing was changed"
          ;;
        *) stop 1 "wrong machine: got $kernel, expected $machine; nothing was changed" ;;
      esac
      ;;
  esac
  if [ "$found" != "$identity" ]; then
    say "note: the kernel is $kernel, the userland another (ELF class and machine $found)"
  fi
  for loader in $loaders; do
    [ -f "$loader" ] || stop 1 "the host lacks the loader $loader that $name $version asks for; nothing was changed"
    identify "$loader" || found=none
    [ "$found" = "$identity" ] || stop 1 "$loader is for another machine (ELF class and machine $found, expected" \
      "$identity): a userland of another word size; nothing was changed"
  done
}

# Calls "$1" DIGEST PATH for every line of SHA256SUMS.
each_line() {
  while IFS= read -r line; do
    "$1" "${line%%  *}" "${line#*  }"
  done <"$here/SHA256SUMS"
}

check_line() {
  if [ ! -f "$here/$2" ] || [ -L "$here/$2" ]; then
    stop 1 "the bundle lacks $2; nothing was changed"
  fi
  hash_of "$here/$2"
  [ "$digest" = "$1" ] ||
    stop 1 "the bundle is damaged or was altered: $2 has SHA-256 ${digest:-unreadable}, expected $1;" \
      "nothing was changed"
}

check_bundle() {
  here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P) || stop 1 "the bundle's folder cannot be entered"
  [ -f "$here/SHA256SUMS" ] || stop 1 "there is no SHA256SUMS beside this script: run it by its path, from the" \
    "unpacked bundle; nothing was changed"
  hash_of "$here/SHA256SUMS"
  [ "$digest" = "$sums" ] || stop 1 "the bundle is damaged or was altered: SHA256SUMS has SHA-256" \
    "${digest:-unreadable}, expected $sums; nothing was changed"
  each_line check_line
}

# Flushes a file or folder to the disk; all of them where sync takes no names.
flush() {
  sync "$1" 2>/dev/null || sync 2>/dev/null || :
}

# Refuses where the file system has less room than the payload takes. Where df tells nothing, copying will.
check_room() {
  room=$(df -Pk "$1" 2>/dev/null | {
    read -r _ && read -r _ _ _ free _ && printf '%s' "$free"
  })
  size=$(du -sk "$here/$payload" 2>/dev/null) || size=
  size=${size%%[!0-9]*}
  case $room:$size in
    *[!0-9:]* | :* | *:) return 0 ;;
  esac
  [ "$room" -ge "$size" ] || stop 4 "$1 has $room KiB left, expected $size KiB; nothing was changed"
}

# Removes what runs that were killed have left. A process that lives keeps its own.
sweep() {
  for left in "$1".*; do
    owner=${left#"$1".}
    owner=${owner%%.*}
    case $owner in
      '' | *[!0-9]*) continue ;;
    esac
    if [ "$owner" = $$ ] || ! kill -0 "$owner" 2>/dev/null; then
      rm -rf "$left"
    fi
  done
}

# Refuses a folder that cannot be written, without writing: busybox's test -w knows no read-only file systems.
check_writable() {
  best=
  options=
  if [ -r /proc/self/mounts ]; then
    while read -r _ mount _ flags _; do
      prefix=${mount%/}
      case ${1%/}/ in
        "$prefix"/*)
          if [ ${#mount} -ge ${#best} ]; then
            best=$mount
            options=$flags
          fi
          ;;
      esac
    done </proc/self/mounts
  fi
  case ,$options, in
    *,ro,*) stop 4 "$1 cannot be written: $best is mounted read-only" ;;
  esac
  [ -w "$1" ] || stop 4 "$1 cannot be written"
}

begin() {
  trap tidy EXIT
  trap 'exit 130' HUP INT TERM
  scratch=$1.$$
  sweep "$1"
}

# Puts a program's owner and mode on what is to replace it; capabilities too, where the tools for them are there.
dress() {
  mode=755
  if [ -f "$2" ]; then
    owner=$(stat -c '%u:%g' "$2" 2>/dev/null) && { chown "$owner" "$1" 2>/dev/null || :; }
    mode=$(stat -c '%a' "$2" 2>/dev/null) || mode=755
    [ -x "$2" ] || mode=755
    if command -v getcap >/dev/null 2>&1 && command -v setcap >/dev/null 2>&1; then
      granted=$(getcap "$2" 2>/dev/null)
      granted=${granted#"$2" }
      granted=${granted#= }
      if [ -n "$granted" ]; then
        setcap "$granted" "$1" || stop 4 "the capabilities of $2 ($granted) cannot be given to its successor;" \
          "nothing was changed"
      fi
    fi
  fi
  chmod "$mode" "$1" || stop 4 "the mode of $1 cannot be set; nothing was changed"
}

# Keeps the installed program under another name: a second link to the same bytes, a copy where there are no links.
keep() {
  if [ -f "$kept" ]; then
    hash_of "$kept"
    [ "$digest" != "$old" ] || return 0
  fi
  ln "$target" "$scratch.kept" 2>/dev/null || cp -p "$target" "$scratch.kept" ||
    stop 4 "the installed version cannot be kept; nothing was changed"
  hash_of "$scratch.kept"
  [ "$digest" = "$old" ] || stop 4 "the installed version cannot be kept: its copy differs; nothing was changed"
  flush "$scratch.kept"
  mv -f "$scratch.kept" "$kept" || stop 4 "the installed version cannot be kept; nothing was changed"
}

look_at_file() {
  place=$(CDPATH='' cd -- "$to" 2>/dev/null && pwd -P) || stop 1 "there is no folder $to; nothing was changed"
  to=$place
  target=${to%/}/$name
  old=
  [ ! -L "$target" ] || stop 1 "$target is a symbolic link: name the folder that it leads to with --to;" \
    "nothing was changed"
  if [ -e "$target" ]; then
    [ -f "$target" ] || stop 1 "$target is no file; nothing was changed"
    hash_of "$target"
    old=$digest
    [ -n "$old" ] || stop 1 "$target cannot be read; nothing was changed"
    if identify "$target" && [ "$found" != "$identity" ]; then
      stop 1 "$target is for another machine (ELF class and machine $found, expected $identity); nothing was changed"
    fi
    kept=$target.replaced-${old%"${old#????????????}"}
  fi
}

roll_file() {
  look_at_file
  if [ "$old" = "$wanted" ]; then
    [ -n "$dry" ] || sweep "${to%/}/.$name.rollback"
    say "$target is $name $version already"
    return 0
  fi
  check_room "$to"
  if [ -n "$dry" ]; then
    check_writable "$to"
    [ -z "$old" ] || say "would keep $target as $kept"
    say "would put $name $version at $target"
    return 0
  fi
  begin "${to%/}/.$name.rollback"
  cp "$here/$payload" "$scratch" || stop 4 "$to cannot be written; nothing was changed"
  hash_of "$scratch"
  [ "$digest" = "$wanted" ] || stop 4 "$scratch was not written as it was read; nothing was changed"
  dress "$scratch" "$target"
  flush "$scratch"
  if [ -n "$old" ]; then
    keep
    flush "$to"
  fi
  mv -f "$scratch" "$target" || stop 4 "$target cannot be replaced; nothing was changed"
  flush "$to"
  hash_of "$target"
  if [ "$digest" != "$wanted" ]; then
    [ -n "$old" ] || stop 5 "$target is not what was written"
    ln "$kept" "$scratch.kept" 2>/dev/null || cp -p "$kept" "$scratch.kept"
    mv -f "$scratch.kept" "$target"
    stop 5 "$target was not what was written; the old version was put back"
  fi
  say "$target is $name $version now"
  [ -z "$old" ] || say "the replaced version is kept as $kept"
}

# Sets whole to nothing where a file of the payload is not in "$folder" as it should be.
compare_line() {
  case $2 in
    "$payload"/*)
      hash_of "$folder/${2#"$payload"/}"
      [ "$digest" = "$1" ] || whole=
      ;;
  esac
}

# Sets folder to where this version lies whole, or to the first name beside the link that is free for it.
find_folder() {
  folder=$parent/$name-$version-${sums%"${sums#????????????}"}
  base=$folder
  turn=0
  while [ -e "$folder" ] || [ -L "$folder" ]; do
    whole=yes
    each_line compare_line
    [ -z "$whole" ] || return 0
    turn=$((turn + 1))
    folder=$base.$turn
  done
  whole=
}

look_at_link() {
  parent=$(dirname -- "$to")
  place=$(CDPATH='' cd -- "$parent" 2>/dev/null && pwd -P) ||
    stop 1 "there is no folder $parent; nothing was changed"
  parent=${place%/}
  link=$parent/${to##*/}
  [ -L "$link" ] || [ ! -e "$link" ] || stop 1 "$link is no symbolic link, and cannot be swapped at once: move it" \
    "away, and link it; nothing was changed"
}

make_folder() {
  cp -R "$here/$payload" "$scratch" || stop 4 "$parent cannot be written; nothing was changed"
  for program in $programs; do
    chmod 755 "$scratch/$program" || stop 4 "the mode of $program cannot be set; nothing was changed"
  done
  final=$folder
  folder=$scratch
  whole=yes
  each_line compare_line
  [ -n "$whole" ] || stop 4 "$scratch was not written as it was read; nothing was changed"
  folder=$final
  # One flush of everything costs less than one for each file.
  sync 2>/dev/null || :
  mv "$scratch" "$folder" || stop 4 "$folder cannot be made; nothing was changed"
  flush "${parent:-/}"
}

# mv -T renames a link over a link; without -T it would move the new one into the folder that the old one names.
check_mv() {
  { mkdir "$scratch.kept" && ln -s one "$scratch.kept/new" && ln -s two "$scratch.kept/old"; } ||
    stop 4 "$parent cannot be written, or knows no symbolic links; nothing was changed"
  mv -fT "$scratch.kept/new" "$scratch.kept/old" 2>/dev/null ||
    stop 3 "mv has no -T here: a link cannot be swapped at once; nothing was changed"
  rm -rf "$scratch.kept"
}

in_use() {
  CDPATH='' cd -- "$link" 2>/dev/null && pwd -P
}

roll_tree() {
  look_at_link
  find_folder
  before=$(in_use) || before=
  if [ -n "$whole" ] && [ "$before" = "$folder" ]; then
    [ -n "$dry" ] || sweep "$parent/.$name.rollback"
    say "$link is $name $version already ($folder)"
    return 0
  fi
  [ -n "$whole" ] || check_room "${parent:-/}"
  if [ -n "$dry" ]; then
    check_writable "${parent:-/}"
    say "would link $link to $folder"
    return 0
  fi
  begin "$parent/.$name.rollback"
  check_mv
  [ -n "$whole" ] || make_folder
  ln -s "${folder##*/}" "$scratch" || stop 4 "$parent cannot be written; nothing was changed"
  mv -fT "$scratch" "$link" || stop 4 "$link cannot be replaced; nothing was changed"
  flush "${parent:-/}"
  whole=yes
  each_line compare_line
  if [ -z "$whole" ] || [ "$(in_use)" != "$folder" ]; then
    if [ -n "$before" ]; then
      ln -s "$before" "$scratch" && mv -fT "$scratch" "$link"
    fi
    stop 5 "$link does not lead to what was written; the old version was put back"
  fi
  say "$link is $name $version now ($folder)"
  [ -z "$before" ] || say "the replaced version is kept in $before"
}

while [ $# -gt 0 ]; do
  case $1 in
    --dry-run) dry=yes ;;
    --to)
      [ $# -gt 1 ] || stop 2 "--to: got nothing, expected a path"
      to=$2
      shift
      ;;
    --help)
      usage
      exit 0
      ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
  shift
done
[ -n "$to" ] || stop 2 "say where: --to PATH"

need uname od dirname cp mv ln rm chmod mkdir
find_hasher
check_bundle
check_machine
case $unit in
  file) roll_file ;;
  *) roll_tree ;;
esac
