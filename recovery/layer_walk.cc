#include "recovery/layer_walk.h"

#include "base/assert.h"

#include <memory>
#include <optional>

namespace cw::recovery {

Result<void> walk_layers(
    Fetcher& fetcher, const Catalog& catalog, const vault::PointEntry::Cut& cut,
    const WalkOptions& options,
    const std::function<Result<bool>(OpenSegment segment, const Layer& layer)>& take) {
    CW_ASSERT(options.ahead >= 1);
    CW_TRY_ASSIGN(const auto visible, catalog.segments_of(cut));
    const std::vector<Layer> layers = order_layers(visible);
    // Shared with the callbacks: those still under way at the end find their place.
    using Slots = std::vector<std::optional<Result<OpenSegment>>>;
    const auto slots = std::make_shared<Slots>(layers.size());
    std::size_t started = 0;
    for (std::size_t next = 0; next < layers.size(); ++next) {
        while (started < layers.size() && started < next + options.ahead) {
            open_segment(fetcher, catalog, *layers[started].ref,
                         [slots, started](Result<OpenSegment> opened) {
                             (*slots)[started].emplace(std::move(opened));
                         });
            ++started;
        }
        while (!(*slots)[next]) {
            if (options.cancelled && options.cancelled()) {
                return fail(Errc::cancelled, "while reading indexes");
            }
            fetcher.wait(fetch_wait_slice_ns);
            fetcher.poll();
        }
        Result<OpenSegment> opened = std::move(*(*slots)[next]);
        (*slots)[next].reset();
        if (!opened) {
            return std::unexpected(
                blame(catalog, layers[next].ref->name, std::move(opened).error()));
        }
        CW_TRY_ASSIGN(const bool more, take(std::move(*opened), layers[next]));
        if (!more) {
            break;
        }
    }
    return {};
}

}  // namespace cw::recovery
