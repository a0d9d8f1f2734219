// A key-encryption key in a file. Its wrap is key id 8 ‖ nonce 12 ‖ ciphertext ‖ tag 16; the id
// says which key is needed without saying anything about it.
#include "base/assert.h"
#include "base/given_file.h"
#include "base/whole_file.h"
#include "egress/vault/keys.h"
#include "egress/vault/recovery_kit.h"

#include <algorithm>
#include <string_view>

#include <sys/stat.h>

namespace cw::vault {
namespace {

constexpr std::size_t kek_file_bytes_max = 4096, key_id_bytes = 8;
constexpr std::size_t wrap_overhead = key_id_bytes + sizeof(GcmNonce) + sizeof(GcmTag);

std::array<std::byte, key_id_bytes> id_of(const Key256& key) {
    const Key256 derived = hkdf_sha256(key, {}, as_bytes("causeway kek id"));
    std::array<std::byte, key_id_bytes> id;
    std::copy_n(derived.begin(), id.size(), id.begin());
    return id;
}

class FileKek final : public KeyService {
public:
    FileKek(Secret<Key256> key, Random& random)
        : key_(std::move(key)), id_(id_of(key_.reveal())), random_(random) {}

    Result<ByteVector> wrap(Bytes plain, Bytes aad) override {
        GcmNonce nonce;
        random_.fill(nonce);
        ByteVector out(plain.size() + wrap_overhead);
        ByteWriter head(out);
        head.bytes(id_);
        head.bytes(nonce);
        const MutableBytes cipher =
            MutableBytes(out).subspan(key_id_bytes + nonce.size(), plain.size());
        const GcmTag tag = AesGcm(key_.reveal()).seal(nonce, aad, plain, cipher);
        std::copy(tag.begin(), tag.end(), out.end() - static_cast<std::ptrdiff_t>(tag.size()));
        return out;
    }

    Result<ByteVector> unwrap(Bytes wrapped, Bytes aad) override {
        if (wrapped.size() < wrap_overhead) {
            return fail(Errc::object_corrupt, "a wrapped key is too short");
        }
        ByteReader reader(wrapped, Errc::object_corrupt);
        CW_TRY_ASSIGN(const auto id, reader.array<key_id_bytes>());
        if (id != id_) {
            return fail(Errc::key_unavailable, "the vault is locked with key " + to_hex(id) +
                                                   ", the key given is " + to_hex(id_));
        }
        CW_TRY_ASSIGN(const GcmNonce nonce, reader.array<sizeof(GcmNonce)>());
        CW_TRY_ASSIGN(const Bytes cipher, reader.take(wrapped.size() - wrap_overhead));
        CW_TRY_ASSIGN(const GcmTag tag, reader.array<sizeof(GcmTag)>());
        ByteVector plain(cipher.size());
        CW_TRY(AesGcm(key_.reveal()).open(nonce, aad, cipher, tag, plain));
        return plain;
    }

private:
    Secret<Key256> key_;
    std::array<std::byte, key_id_bytes> id_;
    Random& random_;
};

// The disk seam knows no permissions, so the question goes to the system; a file that exists only
// in a simulation has none to ask about.
Result<void> check_private(const std::string& path) {
    struct stat status{};
    if (::stat(path.c_str(), &status) == 0 && (status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        return fail(Errc::key_unavailable,
                    path + " may be read by others: chmod 0400 and consider the key known");
    }
    return {};
}

}  // namespace

Result<Secret<Key256>> read_kek_file(Disk& disk, const std::string& path) {
    CW_TRY(check_private(path));
    auto content = read_given_file(disk, path, kek_file_bytes_max);
    if (!content) {
        return fail(Errc::key_unavailable, path + ": " + content.error().detail);
    }
    auto key = parse_kek_text(as_text(*content));
    wipe(*content);
    if (!key) {
        return fail(Errc::key_unavailable, path + ": " + key.error().detail);
    }
    return key;
}

Result<std::unique_ptr<KeyService>> open_kek_file(Disk& disk, const std::string& path,
                                                  Random& random) {
    CW_TRY_ASSIGN(Secret<Key256> key, read_kek_file(disk, path));
    return std::make_unique<FileKek>(std::move(key), random);
}

Result<void> create_kek_file(Disk& disk, const std::string& path, Random& random) {
    Key256 key;
    random.fill(key);
    std::string text = to_hex(key) + '\n';
    wipe(key);
    auto made = create_file_atomically(disk, random, path, as_bytes(text), 0400);
    wipe({reinterpret_cast<std::byte*>(text.data()), text.size()});
    return made;
}

}  // namespace cw::vault
