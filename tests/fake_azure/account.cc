#include "tests/fake_azure/account.h"

#include <array>
#include <cstdio>

namespace cw::fake_azure {

std::string Account::make_etag() {
    std::array<char, 32> text{};
    const int n = std::snprintf(text.data(), text.size(), "0x8DC%012llX",
                                static_cast<unsigned long long>(next_etag++));
    return {text.data(), static_cast<std::size_t>(n)};
}

Container* Account::find(const std::string& name, std::int64_t now_ns) {
    const auto found = containers.find(name);
    if (found == containers.end()) {
        return nullptr;
    }
    if (found->second.deleted_until_ns > 0) {
        if (now_ns >= found->second.deleted_until_ns) {
            containers.erase(found);
        }
        return nullptr;
    }
    return &found->second;
}

}  // namespace cw::fake_azure
