#include "tests/hostile/rig.h"

#include <cstdio>
#include <map>

#include <openssl/err.h>

namespace cw::hostile {
namespace {

int failed = 0;

}  // namespace

Context bare_context(std::string_view protocol) {
    Context context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
    CW_ASSERT(context != nullptr);
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_NONE, nullptr);
    if (!protocol.empty()) {
        std::string list(1, static_cast<char>(protocol.size()));
        list += protocol;
        CW_ASSERT(SSL_CTX_set_alpn_protos(context.get(),
                                          reinterpret_cast<const unsigned char*>(list.data()),
                                          static_cast<unsigned>(list.size())) == 0);
    }
    return context;
}

Context forged_context(const Target& target, const Forgery& forgery, std::string_view protocol) {
    Context context = bare_context(protocol);
    Forged::make(target.pki, forgery).use(context.get());
    return context;
}

Context machine_context(const Target& target, std::uint64_t seed) {
    static std::map<std::uint64_t, Context> made;
    Context& context = made[seed];
    if (context == nullptr) {
        context = forged_context(target, {.names = name_of_machine(seed)});
    }
    return context;
}

wire::Hello hello_of(std::uint64_t seed) {
    wire::Hello hello = test::plain_hello();
    for (std::size_t i = 0; i < 8; ++i) {
        hello.disks[0].id.bytes[i] = static_cast<std::byte>(seed >> (8 * i));
    }
    return hello;
}

Result<test::TestClient> upgraded(const Target& target, std::uint64_t seed) {
    const Context context = machine_context(target, seed);
    CW_TRY_ASSIGN(auto client, test::TestClient::connect(target.port, context.get()));
    CW_TRY(client.handshake());
    CW_TRY(client.upgrade());
    return client;
}

Result<test::TestClient> open_session(const Target& target, std::uint64_t seed) {
    CW_TRY_ASSIGN(auto client, upgraded(target, seed));
    CW_TRY(client.hello(hello_of(seed)));
    return client;
}

std::string error_of(Result<test::TestClient>& client) {
    const auto frame = client->receive(wire::FrameType::error);
    if (!frame) {
        return to_string(frame.error());
    }
    return std::string(name_of(static_cast<Errc>(frame->as<wire::ErrorMessage>().code)));
}

void report(const std::string& name, const std::string& failure) {
    if (failure.empty()) {
        std::printf("PASS %s\n", name.c_str());
    } else {
        std::printf("FAIL %s: %s\n", name.c_str(), failure.c_str());
        ++failed;
    }
    std::fflush(stdout);
    ERR_clear_error();
}

int failures() {
    return failed;
}

}  // namespace cw::hostile
