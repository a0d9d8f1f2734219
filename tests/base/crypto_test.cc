#include "base/crypto.h"

#include "base/ids.h"
#include "base/random.h"
#include "base/secret.h"

#include <gtest/gtest.h>

namespace cw {
namespace {

template <std::size_t N>
std::array<std::byte, N> array_of(std::string_view hex) {
    std::array<std::byte, N> out{};
    const ByteVector bytes = from_hex(hex).value();
    EXPECT_EQ(bytes.size(), N);
    std::ranges::copy(bytes, out.begin());
    return out;
}

TEST(Sha256, MatchesFips180) {
    EXPECT_EQ(to_hex(sha256({})),
              "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    EXPECT_EQ(to_hex(sha256(as_bytes("abc"))),
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256, StreamsToTheSameDigest) {
    Sha256Stream stream;
    stream.update(as_bytes("a"));
    stream.update({});
    stream.update(as_bytes("bc"));
    EXPECT_EQ(stream.finish(), sha256(as_bytes("abc")));
}

TEST(Hmac, MatchesRfc4231) {
    EXPECT_EQ(to_hex(hmac_sha256(as_bytes("Jefe"), as_bytes("what do ya want for nothing?"))),
              "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    EXPECT_EQ(to_hex(hmac_sha256({}, {})),
              "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

TEST(Hkdf, MatchesRfc5869) {
    const auto key = ByteVector(22, std::byte{0x0b});
    const auto salt = from_hex("000102030405060708090a0b0c").value();
    const auto info = from_hex("f0f1f2f3f4f5f6f7f8f9").value();
    EXPECT_EQ(to_hex(hkdf_sha256(key, salt, info)),
              "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");
    EXPECT_EQ(to_hex(hkdf_sha256(key, {}, {})),
              "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d");
}

TEST(AesGcm, MatchesTheGcmSpecification) {
    // McGrew and Viega, test case 16: 256-bit key, 60 bytes, associated data.
    AesGcm gcm(array_of<32>("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"));
    const auto nonce = array_of<12>("cafebabefacedbaddecaf888");
    const auto aad = from_hex("feedfacedeadbeeffeedfacedeadbeefabaddad2").value();
    const auto plain = from_hex(
                           "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
                           "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39")
                           .value();
    ByteVector cipher(plain.size());
    EXPECT_EQ(to_hex(gcm.seal(nonce, aad, plain, cipher)), "76fc6ece0f4e1768cddf8853bb2d551b");
    EXPECT_EQ(to_hex(cipher),
              "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
              "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662");
}

class AesGcmProperties : public testing::Test {
protected:
    AesGcmProperties() { random_->fill(key_); }
    ByteVector bytes(std::size_t size) {
        ByteVector out(size);
        random_->fill(out);
        return out;
    }
    std::unique_ptr<Random> random_ = make_seeded_random(11);
    Key256 key_{};
    GcmNonce nonce_{};
};

TEST_F(AesGcmProperties, OpensWhatItSealedInAnyPieces) {
    AesGcm gcm(key_);
    for (std::size_t size = 0; size < 300; ++size) {
        nonce_[0] = static_cast<std::byte>(size);
        nonce_[1] = static_cast<std::byte>(size >> 8);
        const ByteVector plain = bytes(size);
        const ByteVector aad = bytes(size % 40);
        ByteVector whole(size), scattered(size), opened(size);
        const GcmTag tag = gcm.seal(nonce_, aad, plain, whole);
        const std::size_t a = random_->below(size + 1), b = a + random_->below(size - a + 1);
        const std::span all(scattered);
        const std::array<MutableBytes, 3> pieces{all.first(a), all.subspan(a, b - a),
                                                 all.subspan(b)};
        EXPECT_EQ(gcm.seal(nonce_, aad, plain, pieces), tag);
        EXPECT_EQ(scattered, whole);
        const std::array<Bytes, 3> borrowed{pieces[0], pieces[1], pieces[2]};
        ASSERT_TRUE(gcm.open(nonce_, aad, borrowed, tag, opened));
        EXPECT_EQ(opened, plain);
        ASSERT_TRUE(gcm.open(nonce_, aad, whole, tag, whole));  // In place.
        EXPECT_EQ(whole, plain);
    }
}

TEST_F(AesGcmProperties, RefusesAnyChangeAndWipesTheOutput) {
    AesGcm gcm(key_);
    const ByteVector plain = bytes(100), aad = bytes(20);
    ByteVector cipher(100), opened(100, std::byte{1});
    const GcmTag tag = gcm.seal(nonce_, aad, plain, cipher);
    const auto refuses = [&](const GcmNonce& n, Bytes a, Bytes c, const GcmTag& t) {
        const auto result = gcm.open(n, a, c, t, opened);
        return !result && result.error().code == Errc::object_corrupt &&
               opened == ByteVector(100, std::byte{0});
    };
    for (std::size_t i = 0; i < cipher.size(); ++i) {
        ByteVector changed = cipher;
        changed[i] ^= std::byte{0x10};
        EXPECT_TRUE(refuses(nonce_, aad, changed, tag));
    }
    GcmTag other_tag = tag;
    other_tag[15] ^= std::byte{1};
    EXPECT_TRUE(refuses(nonce_, aad, cipher, other_tag));
    GcmNonce other_nonce = nonce_;
    other_nonce[11] ^= std::byte{1};
    EXPECT_TRUE(refuses(other_nonce, aad, cipher, tag));
    EXPECT_TRUE(refuses(nonce_, Bytes(aad).first(19), cipher, tag));
    // A refusal leaves the context usable.
    EXPECT_TRUE(gcm.open(nonce_, aad, cipher, tag, opened));
    EXPECT_EQ(opened, plain);
}

TEST(Ed25519, MatchesRfc8032) {
    const auto secret =
        array_of<32>("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
    const PublicKey open = public_key_of(secret);
    EXPECT_EQ(to_hex(open), "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
    const ByteVector message{std::byte{0x72}};
    const Signature signature = sign_ed25519(secret, message);
    EXPECT_EQ(to_hex(signature),
              "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
              "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00");
    EXPECT_TRUE(verify_ed25519(open, message, signature));
}

TEST(Ed25519, RefusesOtherMessagesKeysAndSignatures) {
    const auto random = make_seeded_random(12);
    const SigningKeyPair pair = make_signing_key(*random), other = make_signing_key(*random);
    Signature signature = sign_ed25519(pair.secret, as_bytes("message"));
    EXPECT_TRUE(verify_ed25519(pair.open, as_bytes("message"), signature));
    EXPECT_FALSE(verify_ed25519(pair.open, as_bytes("messagf"), signature));
    EXPECT_FALSE(verify_ed25519(other.open, as_bytes("message"), signature));
    signature[0] ^= std::byte{1};
    EXPECT_FALSE(verify_ed25519(pair.open, as_bytes("message"), signature));
    PublicKey nonsense;
    nonsense.fill(std::byte{0xff});
    EXPECT_FALSE(verify_ed25519(nonsense, as_bytes("message"), signature));
}

TEST(ConstantTime, EqualityIsEquality) {
    EXPECT_TRUE(equal_constant_time({}, {}));
    EXPECT_TRUE(equal_constant_time(as_bytes("ab"), as_bytes("ab")));
    EXPECT_FALSE(equal_constant_time(as_bytes("ab"), as_bytes("ac")));
    EXPECT_FALSE(equal_constant_time(as_bytes("ab"), as_bytes("abc")));
}

TEST(Secret, IsWipedWhenMovedFrom) {
    Secret<Key256> first(array_of<32>(std::string(64, 'a')));
    const Secret<Key256> second(std::move(first));
    // NOLINTBEGIN(bugprone-use-after-move,clang-analyzer-cplusplus.Move): the claim itself.
    EXPECT_EQ(first.reveal(), Key256{});
    EXPECT_EQ(second.clone().reveal(), second.reveal());
    Secret<std::string> text(std::string("a password"));
    const Secret<std::string> taken(std::move(text));
    EXPECT_EQ(taken.reveal(), "a password");
    EXPECT_TRUE(text.reveal().empty());
    // NOLINTEND(bugprone-use-after-move,clang-analyzer-cplusplus.Move)
}

}  // namespace
}  // namespace cw
