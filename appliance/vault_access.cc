#include "appliance/vault_access.h"

#include "base/log.h"
#include "egress/blob/azure_store.h"
#include "egress/blob/directory_store.h"
#include "egress/blob/retry_store.h"

namespace cw::appliance {
