"""Which commands are asked about before they run, and which are not."""

import pytest

from testum.core.danger import looks_destructive

ASKED = r"""
rm -rf /x
rm -f x
rm x
rm -i x
rm /etc/ssh/sshd_config
for i in *; do rm "$i"; done
unlink /x
rmdir x
mv /etc /x
> /etc/fstab
echo x > /etc/passwd
echo x >| /boot/grub.cfg
psql -c "DELETE FROM users"
mongo --eval "db.dropDatabase()"
kubectl scale --replicas=0 deploy x
aws s3 rm s3://x --recursive
aws ec2 terminate-instances --instance-ids i-1
rm x -rf
rm --recursive x
rm --force -- x
rm *
rm /var/log/*.gz
rm -r -- x
\rm -rf x
/bin/rm -rf x
"rm" -rf x
r\m -rf x
for i in a b; do rm -rf "$i"; done
if true; then rm -rf x; fi
if false; then true; else rm -rf x; fi
while read x; do rm -f "$x"; done < list
! rm -rf x
{ rm -rf x; }
( rm -rf x )
(cd /x && rm -rf y)
f() { rm -rf x; }
case $1 in clean) rm -rf x;; esac
true && rm -rf x
true || rm -rf x
true | rm -rf x
true & rm -rf x
FOO=1 rm -rf x
A="b c" B=2 rm -rf x
echo $(rm -rf x)
echo "gone: $(rm -rf x)"
echo `rm -rf x`
sudo rm -rf x
sudo -u root rm -rf x
sudo -uroot -n rm -rf x
sudo --user root rm -rf x
sudo FOO=1 rm -rf x
sudo -E env FOO=1 rm -rf x
doas -u root rm -rf x
env rm -rf x
env -i FOO=1 rm -rf x
env -S "rm -rf x"
nice rm -rf x
nice -n 5 rm -rf x
nice -n5 rm -rf x
ionice -c3 rm -rf x
ionice -c 3 -n 7 rm -rf x
timeout 5 rm -rf x
timeout -k 5 -s KILL 5m rm -rf x
nohup rm -rf x &
setsid -f rm -rf x
stdbuf -oL rm -rf x
stdbuf -o L rm -rf x
time rm -rf x
time -p rm -rf x
command rm -rf x
exec rm -rf x
ls | xargs rm
ls | xargs -n 1 rm -rf
ls | xargs -I {} rm {}
flock /run/lock rm -rf x
flock -w 5 /run/lock -c 'rm -rf x'
chroot /mnt rm -rf x
su -c "rm -rf /x"
su - web -c "rm -rf /x"
su web --command="rm -rf /x"
runuser -u web -- rm -rf x
sh -c 'rm -rf /x'
bash -lc "cd /x && rm -rf y"
bash -e -c 'rm -rf /x'
sudo sh -c "sudo bash -c 'rm -rf /x'"
eval "rm -rf x"
trap 'rm -rf "$t"' EXIT
ssh other rm -rf x
ssh -p 22 -l root other "rm -rf x"
find . -name '*.log' -delete
find . -type f -exec rm {} +
find . -type f -exec rm -f {} \;
docker exec -it web rm -rf /x
kubectl exec -n web pod -- rm -rf /x
echo hi; sudo reboot
echo a \\n  b; \\nreboot
true # a comment\nreboot
cat > f; reboot
2>/dev/null rm -rf x
service nginx stop
/etc/init.d/nginx stop
systemctl stop nginx
systemctl --no-block disable --now nginx
sudo systemctl reboot
ip link set eth0 down
ip link set dev eth0 down
ip l s eth0 down
ip addr flush dev eth0
ip route del default
ifconfig eth0 down
iptables -F
iptables --flush
iptables -t nat -F
ip6tables -P INPUT DROP
nft flush ruleset
ufw --force reset
kubectl delete ns x
kubectl -n web delete pod x
kubectl drain node
docker rm -f web
docker -H unix:///x rm web
docker system prune -af
docker container prune
docker compose -f a.yml down -v
docker-compose down
podman rmi x
docker stop web
helm uninstall x
mkfs.ext4 /dev/sdb1
dd if=/dev/zero of=/dev/sda
wipefs -a /dev/sda
echo x > /dev/sda
cat image >/dev/nvme0n1
cp image /dev/sdb
echo b > /proc/sysrq-trigger
shutdown -h now
init 0
killall nginx
pkill -f app
kill -9 -1
userdel bob
chmod -R 777 /
chown web: -R /srv
psql -c 'DROP TABLE x'
mysql -e "truncate table x"
truncate -s 0 /var/log/x
truncate --size=0 /var/log/x
apt-get -y purge nginx
apt remove nginx
dnf -y erase nginx
pacman -Rns x
dpkg -P x
git clean -xdf
git reset --hard origin/main
crontab -r
lvremove -y vg/x
zpool destroy tank
rsync -a --delete a/ b/
redis-cli FLUSHALL
"""

FREE = r"""
uptime
rm --help
mv /x /etc/y
mv -f a b
echo x >> /etc/hosts
cat /etc/passwd > /tmp/x
cat < /etc/fstab
kubectl scale --replicas=3 deploy x
aws s3 ls
echo rm
echo rm -rf x
echo 'rm -rf x'
echo "rm -rf x"
grep rm -rf x
grep -r 'rm -rf' /etc
sudo grep -r reboot /var/log
ls /rm
ls -rf /rm
ls /bin/rm -f
cat rm -rf
man rm
which rm
type rm
command -v rm -rf
# rm -rf x
uptime # rm -rf x
true; # rm -rf x
./confirm -rf x
farm -rf x
alarm=rm; echo -rf
for rm in -r -f; do echo "$rm"; done
[ -f rm ] && echo there
x=1
FOO=rm uptime
journalctl -u reboot
last reboot
sudo -u rm uptime
timeout 5 uptime
sh -c 'uptime'
sh script.sh -c 'rm -rf x'
bash -c 'echo rm -rf x'
su -c uptime
su - web
find . -name rm
find . -exec grep rm {} +
ls | xargs grep rm
systemctl status stop.service
systemctl is-active nginx
systemctl restart nginx
service nginx status
service nginx restart
ip link set eth0 up
ip -br addr
ip a
ip route show
ifconfig eth0
iptables -L -n
nft list ruleset
ufw status
kubectl get pods
kubectl describe ns delete
kubectl logs delete
docker ps
docker run --rm alpine true
docker run alpine rm
docker logs rm
docker exec web uptime
docker compose up -d
dd if=/dev/sda of=/dev/null
echo x > /dev/null
echo x >/dev/null 2>&1
cat /dev/sda1 | head -c 1
fdisk -l
parted /dev/sda print
shutdown -c
init q
kill 123
kill -9 123
kill -1 123
chmod 644 x
chown web x
select=drop; echo table
truncate -s 10M x
apt-get install nginx
apt list --installed
dpkg -l
rpm -qa
git reset HEAD~1
git clean -n
git status
crontab -l
rsync -a a/ b/
redis-cli info
echo "it's" rm
echo unterminated " rm -rf
exec
sudo
xargs
sh -c
find
docker exec
env
su -c
"""


def _lines(text: str) -> list[str]:
    """A command for each line; `\\n` in it is a new line."""
    return [line.replace("\\n", "\n") for line in text.strip("\n").splitlines()]


@pytest.mark.parametrize("command", _lines(ASKED))
def test_it_is_asked_about(command: str) -> None:
    assert looks_destructive(command)


@pytest.mark.parametrize("command", _lines(FREE))
def test_it_is_not_asked_about(command: str) -> None:
    assert looks_destructive(command) is None


def test_it_says_what_it_is() -> None:
    assert looks_destructive("cd /x; sudo find . -exec rm {} +") == "rm"
    assert looks_destructive("systemctl stop nginx") == "systemctl"
    assert looks_destructive("mkfs.ext4 /dev/sdb") == "mkfs"


def test_it_reads_to_the_end_and_ends() -> None:
    assert looks_destructive("echo a\n" * 18_000 + "rm -rf x") == "rm"
    for text in (
        "$(" * 50_000,
        '"$(' * 30_000,
        "sudo " * 20_000,
        "do " * 80_000,
        "sudo" + " -n" * 80_000,
        "`" * 100_001,
        "\\" * 99_999,
        "sh -c '" * 9_999,
    ):
        assert looks_destructive(text) is None
