// Models as the command line shows them: the list, one model with its card, JSON.
#pragma once

#include <string>

#include "client/output.h"
#include "haarflow/v1/sampler.pb.h"

namespace haarflow {

// A line for each model.
std::string ModelsText(const v1::ListModelsResponse& response);
// Everything that the server says about one.
std::string ModelText(const v1::GetModelResponse& response);
Json ModelJson(const v1::ModelInfo& model);

}  // namespace haarflow
