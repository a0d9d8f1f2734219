// Secret<T>: a value that cannot be printed, logged, compared by accident or copied, and is wiped.
#pragma once

#include "base/crypto.h"

#include <concepts>
#include <string>
#include <type_traits>
#include <utility>

namespace cw {

// T is trivially copyable (a key) or std::string (a password, a SAS).
template <typename T>
class Secret {
public:
    Secret() = default;
    explicit Secret(T value) : value_(std::move(value)) {}
    Secret(Secret&& other) noexcept : value_(std::move(other.value_)) { other.clear(); }
    Secret& operator=(Secret&& other) noexcept {
        if (this != &other) {
            clear();
            value_ = std::move(other.value_);
            other.clear();
        }
        return *this;
    }
    Secret(const Secret&) = delete;
    Secret& operator=(const Secret&) = delete;
    ~Secret() { clear(); }

    // The one way in. Grep for it in review.
    [[nodiscard]] const T& reveal() const noexcept { return value_; }
    [[nodiscard]] Secret clone() const { return Secret(value_); }

private:
    void clear() noexcept {
        if constexpr (std::is_trivially_copyable_v<T>) {
            wipe({reinterpret_cast<std::byte*>(&value_), sizeof value_});
        } else {
            wipe({reinterpret_cast<std::byte*>(value_.data()), value_.size()});
            value_.clear();
        }
    }
    T value_{};
};

}  // namespace cw
