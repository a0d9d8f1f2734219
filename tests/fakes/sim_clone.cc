// A second device with the same content: what a copied virtual machine starts from.
#include "base/assert.h"
#include "tests/fakes/sim_disk.h"

namespace cw::fakes {

void SimStorage::copy_to(SimStorage& copy) const {
    CW_ASSERT(copy.disks_.empty() && copy.names_.empty());
    // One image may have several names, on the platter and off it.
    std::map<const SimImage*, std::shared_ptr<SimImage>> images;
    const auto copied = [&images](const std::shared_ptr<SimImage>& image) {
        auto& made = images[image.get()];
        if (image && !made) {
            made = std::make_shared<SimImage>(*image);
        }
        return made;
    };
    for (const auto& [path, image] : names_) {
        copy.names_[path] = copied(image);
    }
    for (const auto& [path, image] : durable_names_) {
        copy.durable_names_[path] = copied(image);
    }
    for (const NameChange& change : unsynced_names_) {
        copy.unsynced_names_.push_back(
            {change.directory, change.path, copied(change.image), change.renamed_from});
    }
    copy.directories_ = directories_;
    copy.bad_blocks_ = bad_blocks_;
}

}  // namespace cw::fakes
