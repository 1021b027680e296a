"""Where keys come from: plain seeds off mainnet, key files under a passphrase, and their ceremony."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from services.chain import ceremony
from services.chain.adapters import keyfile
from services.chain.adapters.keyfile import KeyFile, KeyFileRefused, read_key_file, write_key_file
from services.chain.adapters.seed import SeedMissing, SeedSource
from services.chain.config import ChainSettings
from services.chain.domain.keys import FLOAT, KeyRing
from services.chain.domain.values import Network

SEED = bytes(range(64)).hex()
PASSPHRASE = "correct horse battery staple"
QUICK = 1 << 10
"""scrypt's cost where its strength is not the question."""


def seed(path: Path, secret: str = "", network: Network = Network.REGTEST) -> bytes:
    return SeedSource(network, path, secret).load()


def test_a_seed_is_made_once_off_mainnet_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "chain.seed"
    made = seed(path)
    assert (len(made), path.stat().st_mode & 0o777) == (64, 0o600)
    assert seed(path) == made


def test_on_mainnet_only_a_key_file_will_do(tmp_path: Path) -> None:
    path = tmp_path / "chain.seed"
    with pytest.raises(SeedMissing, match="satreel-keys new"):
        seed(path, network=Network.MAIN)
    assert not path.exists()
    path.write_text(SEED)
    path.chmod(0o600)
    for secret in ("", SEED):
        with pytest.raises(SeedMissing, match="satreel-keys new"):
            seed(path, secret, Network.MAIN)


def test_a_seed_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "chain.seed"
    path.write_text(SEED)
    path.chmod(0o644)
    with pytest.raises(SeedMissing, match="chmod 600") as problem:
        seed(path)
    assert SEED not in str(problem.value)


@pytest.mark.parametrize("wrong", ["", "xyz", SEED[:-2], SEED + "00"])
def test_what_is_no_seed_is_refused_and_not_shown(tmp_path: Path, wrong: str) -> None:
    path = tmp_path / "chain.seed"
    path.write_text(wrong)
    path.chmod(0o600)
    with pytest.raises(SeedMissing) as problem:
        seed(path)
    assert not wrong or wrong not in str(problem.value)


def test_the_seed_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SATREEL_CHAIN_SEED", SEED)
    settings = ChainSettings()
    assert SEED not in repr(settings)
    found = seed(tmp_path / "none", settings.seed.get_secret_value())
    assert found.hex() == SEED
    assert not (tmp_path / "none").exists()


def sealed(path: Path, network: Network = Network.MAIN) -> KeyFile:
    file = KeyFile.seal(bytes.fromhex(SEED), network, PASSPHRASE, scrypt_n=QUICK)
    write_key_file(path, file)
    return file


def test_a_key_file_opens_with_its_passphrase_and_network_only(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "main.keys"
    sealed(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert SEED not in path.read_text()
    assert [file.name for file in path.parent.iterdir()] == ["main.keys"]
    found = read_key_file(path)
    assert found.open(PASSPHRASE, Network.MAIN).hex() == SEED
    with pytest.raises(KeyFileRefused, match="another passphrase"):
        found.open(PASSPHRASE + " ", Network.MAIN)
    with pytest.raises(KeyFileRefused, match="of the main network, not of test"):
        found.open(PASSPHRASE, Network.TEST)


def test_keys_are_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "main.keys"
    sealed(path)
    before = path.read_bytes()
    with pytest.raises(KeyFileRefused, match="never written over"):
        sealed(path)
    assert path.read_bytes() == before


def changed(name: str, value: object) -> Callable[[dict[str, object]], None]:
    return lambda said: said.__setitem__(name, value)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (changed("network", "test"), "another passphrase, or the file was changed"),
        (changed("fingerprint", "00000000"), "another passphrase, or the file was changed"),
        (changed("scrypt_n", QUICK * 2), "another passphrase, or the file was changed"),
        (changed("sealed", "00" * 80), "another passphrase, or the file was changed"),
        (changed("scrypt_n", 1 << 30), "is no key file of the format"),
        (changed("scrypt_n", 1000), "is no key file of the format"),
        (changed("scrypt_n", "1024"), "is no key file"),
        (changed("format", "satreel-keys/2"), "is no key file of the format"),
        (changed("salt", ""), "is no key file of the format"),
        (changed("nonce", "xy"), "is no key file"),
        (changed("network", "moon"), "is no key file"),
        (changed("more", 1), "is no key file"),
        (lambda said: said.pop("sealed"), "is no key file"),
    ],
)
def test_a_changed_key_file_is_refused_with_a_reason(
    tmp_path: Path, change: Callable[[dict[str, object]], object], why: str
) -> None:
    path = tmp_path / "main.keys"
    sealed(path)
    said = json.loads(path.read_text())
    change(said)
    path.write_text(json.dumps(said))
    with pytest.raises(KeyFileRefused, match=why):
        read_key_file(path).open(PASSPHRASE, Network(str(said["network"])))


@pytest.mark.parametrize("text", ["", "[]", "null", "7", "{}", "ä", "x" * 5_000])
def test_any_text_is_no_key_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "main.keys"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(KeyFileRefused):
        read_key_file(path)


def test_a_key_file_or_passphrase_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path, words = tmp_path / "main.keys", tmp_path / "words"
    sealed(path)
    words.write_text(PASSPHRASE + "\n")
    words.chmod(0o604)
    source = SeedSource(Network.MAIN, tmp_path / "none", key_file=path, passphrase_file=words)
    with pytest.raises(KeyFileRefused, match="by everybody") as problem:
        source.load()
    assert PASSPHRASE not in str(problem.value)
    words.chmod(0o640)  # as a secret is mounted for a service's group
    assert source.load().hex() == SEED
    path.chmod(0o640)
    assert source.load().hex() == SEED
    path.chmod(0o604)
    with pytest.raises(KeyFileRefused, match="by everybody"):
        source.load()


def test_the_settings_lead_to_the_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "main.keys"
    sealed(path)
    monkeypatch.setenv("SATREEL_CHAIN_NETWORK", "main")
    monkeypatch.setenv("SATREEL_CHAIN_KEY_FILE", str(path))
    with pytest.raises(KeyFileRefused, match="SATREEL_CHAIN_KEY_PASSPHRASE_FILE"):
        ChainSettings().seed_source.load()
    monkeypatch.setenv("SATREEL_CHAIN_KEY_PASSPHRASE", PASSPHRASE)
    settings = ChainSettings()
    assert PASSPHRASE not in repr(settings) + repr(settings.seed_source)
    assert settings.seed_source.load().hex() == SEED
    monkeypatch.setenv("SATREEL_CHAIN_SEED", SEED)
    with pytest.raises(SeedMissing, match="which keys are meant"):
        ChainSettings().seed_source.load()


def words(path: Path, text: str) -> str:
    path.write_text(text + "\n")
    path.chmod(0o600)
    return str(path)


def test_the_ceremony(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, old = str(tmp_path / "main.keys"), words(tmp_path / "old", PASSPHRASE)
    ceremony.main(["new", file, "--network", "main", "--passphrase-file", old])
    assert read_key_file(Path(file)).scrypt_n == keyfile.SCRYPT_N  # as strong as promised
    keys = KeyRing(read_key_file(Path(file)).open(PASSPHRASE, Network.MAIN), Network.MAIN)
    told = capsys.readouterr().out
    assert keys.address(FLOAT) in told
    assert keys.fingerprint in told
    new = words(tmp_path / "new", "another passphrase, longer")
    ceremony.main(["passphrase", file, "--passphrase-file", old, "--new-passphrase-file", new])
    with pytest.raises(SystemExit, match="another passphrase, or the file was changed"):
        ceremony.main(["check", file, "--passphrase-file", old])
    capsys.readouterr()
    asked = iter(["another passphrase, longer"])
    monkeypatch.setattr("getpass.getpass", lambda _: next(asked))
    ceremony.main(["check", file])
    assert capsys.readouterr().out.endswith("The file opens, and its keys sign.\n")
    ceremony.main(["show", file])
    assert capsys.readouterr().out.split()[:4] == ["network", "main", "fingerprint", keys.fingerprint]


def test_the_ceremony_takes_over_a_plain_seed_and_refuses_weak_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, plain = str(tmp_path / "test.keys"), words(tmp_path / "chain.seed", SEED)
    command = ["seal", file, "--network", "test", "--seed-file", plain, "--passphrase-file"]
    with pytest.raises(SystemExit, match="at least 16 characters"):
        ceremony.main([*command, words(tmp_path / "short", "too short")])
    assert not Path(file).exists()
    ceremony.main([*command, words(tmp_path / "words", PASSPHRASE)])
    told = capsys.readouterr().out
    assert "destroy" in told
    assert SEED not in told
    assert read_key_file(Path(file)).open(PASSPHRASE, Network.TEST).hex() == SEED
    answers = iter([PASSPHRASE, "other words, and more"])
    monkeypatch.setattr("getpass.getpass", lambda _: next(answers))
    with pytest.raises(SystemExit, match="two different"):
        ceremony.main(["new", str(tmp_path / "other.keys"), "--network", "test"])


def test_a_process_that_is_shut_leaves_no_core_file_and_nobody_looks_into_it() -> None:
    asks = (
        "import ctypes, resource; from services.chain.adapters import secrecy; secrecy.shut(); "
        "print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3))"
    )
    told = subprocess.run([sys.executable, "-c", asks], check=True, capture_output=True, text=True)
    assert told.stdout.strip() == "(0, 0) 0"
