// Rigs of the Azure client against our strict fake, over every transport and credential.
#pragma once

#include "tests/blob/rig.h"

namespace cw::blob {

enum class FakeFlavour { shared_key_http, shared_key_host_style, shared_key_https, sas, bearer };
std::unique_ptr<Rig> make_fake_azure_rig(FakeFlavour flavour);

}  // namespace cw::blob
