#include "egress/blob/store.h"

#include "base/ids.h"

#include <algorithm>
#include <bit>

namespace cw::blob {
namespace {

constexpr std::size_t name_bytes_max = 1024, segment_bytes_max = 200, segments_max = 254;
constexpr std::int64_t wait_slice_ns = 100 * ns_per_ms;

bool allowed(char c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

// Runs the store until `done()`; every operation ends, because every implementation has deadlines.
template <typename Start>
auto run(BlobStore& store, Start start) {
    using Value = typename Start::value_type;
    std::optional<Value> value;
    start.go([&value](Value result) { value.emplace(std::move(result)); });
    while (!value) {
        store.wait(wait_slice_ns, -1);
        store.poll();
    }
    return std::move(*value);
}

template <typename Value, typename Go>
struct Starter {
    using value_type = Value;
    Go go;
};
template <typename Value, typename Go>
Starter<Value, Go> starter(Go go) {
    return {std::move(go)};
}

}  // namespace

std::string_view name_of(Container container) noexcept {
    switch (container) {
        case Container::data:
            return "data";
        case Container::manifest:
            return "manifest";
        case Container::keys:
            return "keys";
        case Container::control:
            return "control";
    }
    return "unknown";
}

std::string to_string(const BlobName& name) {
    return std::string(name_of(name.container)) + "/" + name.name;
}

Result<void> check_name(const BlobName& name) {
    const std::string& text = name.name;
    if (text.empty() || text.size() > name_bytes_max) {
        return fail(Errc::blob_rejected,
                    "object name of " + std::to_string(text.size()) + " bytes");
    }
    std::size_t begin = 0, segments = 0;
    while (begin <= text.size()) {
        const std::size_t end = std::min(text.find('/', begin), text.size());
        const std::string_view segment = std::string_view(text).substr(begin, end - begin);
        // A segment ending in '.' is dropped or refused by servers, and covers "." and "..".
        if (segment.empty() || segment.size() > segment_bytes_max || segment.back() == '.' ||
            !std::ranges::all_of(segment, allowed) || ++segments > segments_max) {
            return fail(Errc::blob_rejected, "object name is not [a-z0-9/._-] with plain segments");
        }
        begin = end + 1;
    }
    return {};
}

PutResult put_and_wait(BlobStore& store, PutRequest request) {
    return run(store, starter<PutResult>(
                          [&](auto done) { store.put(std::move(request), std::move(done)); }));
}

Result<GetResult> get_and_wait(BlobStore& store, GetRequest request) {
    return run(store, starter<Result<GetResult>>(
                          [&](auto done) { store.get(std::move(request), std::move(done)); }));
}

Result<BlobProperties> head_and_wait(BlobStore& store, BlobName name) {
    return run(store, starter<Result<BlobProperties>>(
                          [&](auto done) { store.head(std::move(name), std::move(done)); }));
}

// What a store answers need not be what was asked for, and others may write into the container.
Result<std::vector<ListPage::Entry>> list_all(BlobStore& store, Container container,
                                              const std::string& prefix) {
    std::vector<ListPage::Entry> entries;
    std::string marker,
        seen;  // One of the former markers: the last whose number is a power of two.
    std::uint64_t pages = 0;
    do {
        CW_TRY_ASSIGN(ListPage page, run(store, starter<Result<ListPage>>([&](auto done) {
                                             store.list(container, prefix, marker, std::move(done));
                                         })));
        std::erase_if(page.entries, [&](const ListPage::Entry& entry) {
            return !entry.name.starts_with(prefix) || !check_name({container, entry.name});
        });
        entries.insert(entries.end(), std::make_move_iterator(page.entries.begin()),
                       std::make_move_iterator(page.entries.end()));
        marker = std::move(page.next);
        if (!marker.empty() && marker == seen) {  // However long the circle is (Brent).
            return fail(Errc::blob_rejected, "the listing does not advance");
        }
        if (std::has_single_bit(++pages)) {
            seen = marker;
        }
    } while (!marker.empty());
    return entries;
}

Result<void> remove_and_wait(BlobStore& store, BlobName name) {
    return run(store, starter<Result<void>>(
                          [&](auto done) { store.remove(std::move(name), std::move(done)); }));
}

Result<void> create_containers_and_wait(BlobStore& store) {
    return run(store,
               starter<Result<void>>([&](auto done) { store.create_containers(std::move(done)); }));
}

}  // namespace cw::blob
