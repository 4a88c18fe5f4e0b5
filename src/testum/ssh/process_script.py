"""The sh script that looks for a task's processes on a host and ends them. See termination.py, which fills it in."""

# Reads nothing but builtins, grep, cat and sleep. A process's own marker would be found in this script's
# processes too if it stood there as it is: the pattern is written with a bracket, which matches without
# being equal. Field numbers: proc_pid_stat(5); the command name, which may hold anything, ends at the
# last parenthesis.
SCRIPT = r"""
LC_ALL=C; export LC_ALL; unset TESTUM_TASK TESTUM_NOT_RUN
proc=@PROC@; grace=@GRACE@
nl="
"
blind() { echo "@TAG@ blind"; exit 0; }
[ -r "$proc/self/stat" ] || blind
# What runs in the place of grep or cat, or cannot be started, would find nothing and say so.
[ "$(grep -ls -e "[T]ESTUM_TASK=testum-look" "$proc/$$/cmdline" 2>/dev/null)" = "$proc/$$/cmdline" ] || blind
ticks=$(getconf CLK_TCK 2>/dev/null) || ticks=100
now() { read -r up _ <"$proc/uptime"; up=${up%.*}${up#*.}; }
now; looks=$up
read_table() {
  table=$(cat "$proc"/[0-9]*/stat 2>/dev/null)
  case $nl$table in *"$nl$$ ("*) ;; *) blind ;; esac
}
# $start: when the process began; empty where there is none.
start_of() {
  start=
  read -r line 2>/dev/null <"$proc/$1/stat" || return
  rest=${line##*) }
  set -- $rest
  case $1 in Z|X) ;; *) start=${20} ;; esac
}
pause() { sleep 0.1 2>/dev/null || sleep 1; }
find_ours() {
  ours=" "
  files=$(grep -ls -e "$pattern" "$proc"/[0-9]*/environ "$proc"/[0-9]*/cmdline 2>/dev/null)
  # 2: a file that nobody may read, which is the case for others' processes.
  [ $? -le 2 ] || blind
  for file in $files; do
    pid=${file#"$proc"/}; pid=${pid%%/*}
    case $ours in *" $pid "*) ;; *) ours="$ours$pid " ;; esac
  done
  for one in $held; do
    start_of "${one%:*}"
    [ "$start" = "${one#*:}" ] || continue
    case $ours in *" ${one%:*} "*) ;; *) ours="$ours${one%:*} " ;; esac
  done
  [ "$ours" = " " ] && [ "$known" = " " ] && return
  read_table
  alive=" "; groups=" "; before=; live=" "
  sessions=" "
  while [ "$ours$sessions" != "$before" ]; do
    before=$ours$sessions
    live=" "; groups=" "
    while read -r line; do
      pid=${line%% *}; rest=${line##*) }
      set -- $rest
      case $1 in Z|X) continue ;; esac
      case $ours in
        *" $pid "*) ;;
        *)
          mine=
          case $ours in *" $2 "*|*" $3 "*|*" $4 "*) mine=1 ;; esac
          case $known in *" $4 "*) mine=1 ;; esac
          [ -n "$mine" ] || continue
          ours="$ours$pid " ;;
      esac
      live="$live$pid "
      case $ours in *" $3 "*) case $groups in *" $3 "*) ;; *) groups="$groups$3 " ;; esac ;; esac
      case $pid in "$4") case $known in *" $4 "*) ;; *) known="$known$4 " ;; esac ;; esac
    done <<TESTUM_TABLE
$table
TESTUM_TABLE
  done
  ours=$live
}
send() {
  for group in $groups; do kill -"$1" "-$group" 2>/dev/null; done
  for pid in $ours; do kill -"$1" "$pid" 2>/dev/null; done
}
uid_of() {
  uid=
  while read -r name uid _; do case $name in Uid:) return ;; esac; done <"$1/status"
  uid=
}
# Of the table, the processes of the SSH server, and this shell and those above it up to them; fails where none of them is
# above it.
find_servers() {
  servers=" "; above=" "; pid=$$
  while read -r line; do
    case ${line#*"("} in sshd*|dropbear*) servers="$servers${line%% *} " ;; esac
  done <<TESTUM_TABLE
$table
TESTUM_TABLE
  until case $servers in *" $pid "*) ;; *) false ;; esac; do
    above="$above$pid "; top=$pid
    read -r line 2>/dev/null <"$proc/$pid/stat" || return 1
    set -- ${line##*) }; pid=$2
  done
}
# Whether it is a task's, or says that nothing was run.
is_marked() { grep -qs -e '[T]ESTUM_TASK=' -e '[T]ESTUM_NOT_RUN=' "$proc/$1/environ" "$proc/$1/cmdline"; }
is_mine() { uid_of "$proc/$1" 2>/dev/null; [ "$uid" = "$me" ]; }
# Whether a process without a mark may be of a login that was no task's. What clears its environment loses this, too; some
# daemons let nobody read theirs (PR_SET_DUMPABLE of prctl(2)).
is_of_login() { [ ! -r "$proc/$1/environ" ] || grep -qs 'SSH_CONNECTION=' "$proc/$1/environ"; }
# What the account's start-up files have left behind as this look logged in, and leave at each login.
find_habits() {
  habits=" "
  start_of "$top"; login=$start
  while read -r line; do
    pid=${line%% *}; rest=${line##*) }
    set -- $rest
    case " 1$above" in *" $2 "*) ;; *) continue ;; esac
    case $above$servers in *" $pid "*) continue ;; esac
    case $1 in Z|X) continue ;; esac
    # What a program has begun within the same tick has a lower number.
    [ "${20}" -gt "${login:-0}" ] || { [ "${20}" = "$login" ] && [ "$pid" -gt "$top" ]; } || continue
    [ $((${20} * 100 / ticks)) -le "$looks" ] || continue
    is_mine "$pid" && is_of_login "$pid" && ! is_marked "$pid" && habits="$habits$pid "
  done <<TESTUM_TABLE
$table
TESTUM_TABLE
}
# Whether each login leaves such a process. One whose environment nobody may read may bear the mark: it is told, with how many
# of its kind a login leaves.
is_habit() {
  is_of_login "$1" || return
  [ "$habits" ] || find_habits
  words=$(cat "$proc/$1/cmdline" 2>/dev/null)
  kind=; each=0
  for habit in $habits; do
    [ "$habit" = "$1" ] && return
    [ "$words" ] && [ "$(cat "$proc/$habit/cmdline" 2>/dev/null)" = "$words" ] || continue
    kind=${kind:-$habit}; each=$((each + 1))
  done
  [ "$kind" ] || return
  [ -r "$proc/$1/environ" ] || alike="$alike$tag alike $kind:$each $process $age$nl"
}
# Children of the first process, of this account and younger than `oldest`, that bear no task's mark; of a program that
# did not prove its beginning, also those of the SSH server: they may run in its place. Services' processes are those of the
# service manager, unless the service is the SSH server.
find_strays() {
  strays=; alike=; habits=
  read -r own 2>/dev/null <"$proc/self/cgroup" || own=
  read_table
  find_servers || top=$$
  parents=" 1 "; [ -z "$unbegun" ] || parents=" 1$servers"
  now
  while read -r line; do
    pid=${line%% *}; rest=${line##*) }
    set -- $rest
    case $parents in *" $2 "*) ;; *) continue ;; esac
    case $servers in *" $pid "*) continue ;; esac
    case $1 in Z|X) continue ;; esac
    age=$((up - ${20} * 100 / ticks))
    [ "$age" -le "$oldest" ] || continue
    process=$pid:${20}
    is_mine "$pid" || continue
    is_marked "$pid" && continue
    read -r group 2>/dev/null <"$proc/$pid/cgroup" || group=
    case $group in
      "$own") ;;
      */user@*) continue ;;
      *ssh*.service|*dropbear*.service) ;;
      *.service) continue ;;
    esac
    is_habit "$pid" || strays="$strays$tag stray $process $age$nl"
  done <<TESTUM_TABLE
$table
TESTUM_TABLE
}
# What another task's end has just orphaned is gone in a moment.
say_strays() {
  [ "$oldest" ] || return
  for look in 1 2 3 4 5; do
    find_strays
    [ "$strays" ] || break
    pause
  done
  [ -z "$strays" ] || find_strays
  echo "$strays$alike"
}
# Those that were told before and live, and what is below them or in their sessions. One that was between its fork and its
# program has a mark since, or is the server's. Where one has ended, `ended` is set.
say_still() {
  ended=; still=" "; before=" "
  for process in $seen; do
    start_of "${process%:*}"
    [ "$start" = "${process#*:}" ] || { ended=1; continue; }
    case ${line#*"("} in sshd*|dropbear*) continue ;; esac
    is_marked "${process%:*}" && continue
    still="$still${process%:*} "; echo "$tag stray $process 0"
  done
  [ "$still" = " " ] || read_table
  while [ "$still" != "$before" ]; do
    before=$still
    while read -r line; do
      pid=${line%% *}; rest=${line##*) }
      set -- $rest
      case $still in *" $pid "*) continue ;; *" $2 "*|*" $4 "*) ;; *) continue ;; esac
      case $1 in Z|X) continue ;; esac
      process=$pid:${20}
      is_mine "$pid" && ! is_marked "$pid" || continue
      still="$still$pid "; echo "$tag stray $process 0"
    done <<TESTUM_TABLE
$table
TESTUM_TABLE
  done
}
# Whether a process of this account says that the attempt ran nothing.
ran_nothing() {
  [ "$attempt" ] || return
  for file in $(grep -ls -e "[T]ESTUM_NOT_RUN=$attempt-$1" "$proc"/[0-9]*/environ 2>/dev/null); do
    file=${file%/environ}
    is_mine "${file##*/}" && return
  done
  return 1
}
gone() {
  [ -z "$unbegun" ] || { read_table; find_servers || echo "$tag hidden"; }
  say_still
  # What has ended since may have begun others before.
  [ "$seen" ] && [ -z "$ended" ] || say_strays
  echo "$tag gone $1"
}
say_living() {
  named=
  for pid in $ours; do
    start_of "$pid"
    [ "$start" ] && named="$named $pid:$start"
  done
  echo "$tag $1$named"
}
# The shell that began the program, by its number, at least $least old; a younger process has only got the number. Where it
# has ended, its session is none but the program's as long as anything is in it.
find_shell() {
  [ "$shell" ] || return
  start_of "$shell"
  if [ "$start" ]; then
    now
    [ $((up - start * 100 / ticks)) -ge "$least" ] || return
    held="$held $shell:$start"
  fi
  known=" $shell "
}
uid_of "$proc/self"; me=$uid
seek() {
  tag=$1; pattern="[T]ESTUM_TASK=$2"; to_end=$3; seen=$4; oldest=$5; attempt=$6; held=$7; shell=$8; least=$9
  unbegun=${10}
  known=" "; ours=" "; groups=" "
  find_shell
  find_ours
  if [ "$ours" = " " ]; then
    pause; find_ours
    if [ "$ours" = " " ]; then
      if ran_nothing "$2"; then echo "$tag unrun"; else gone 0; fi
      return
    fi
  fi
  [ "$to_end" = 1 ] || { say_living runs; return; }
  now; started=$up; deadline=$((up + grace)); last=$((deadline + 100)); told=" "; signals=TERM; empty=; killed=
  while :; do
    now
    if [ "$up" -ge "$deadline" ]; then signals="TERM, KILL"; send KILL; killed=1
    elif [ "$told" != "$ours" ]; then told=$ours; send TERM; send CONT
    fi
    pause
    find_ours
    # A process that was forked while /proc was read may not be in it, and its parent not any more: one look is not enough.
    if [ "$ours" != " " ]; then empty=
    elif [ "$empty" ]; then now; gone "$((up - started)) $signals"; return
    else empty=1; continue
    fi
    now
    # On a busy host a look may take longer than the grace time.
    [ "$killed" ] && [ "$up" -ge "$last" ] && break
  done
  say_living left
}
"""

BOOT = """
boot=; read -r boot <"$proc/sys/kernel/random/boot_id" 2>/dev/null
echo "@TAG@ boot $boot"
"""
"""The number of the kernel's start (random(4)): nothing runs that ran under another."""
